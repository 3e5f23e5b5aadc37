//! Metrics of the sold-out gate: the counters that a lane would have incremented.

use metrics::Counter;

use super::{label::label, orders};
use crate::domain::Code;

/// Counts the orders for this product that were refused as sold out.
#[derive(Clone)]
pub struct SoldOutRefusals(Counter);

impl std::fmt::Debug for SoldOutRefusals {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SoldOutRefusals").finish_non_exhaustive()
    }
}

pub fn sold_out(sku: &str) -> SoldOutRefusals {
    SoldOutRefusals(orders(&label(sku), Code::SoldOut.into()))
}

impl SoldOutRefusals {
    pub fn increment(&self) {
        self.0.increment(1);
    }
}
