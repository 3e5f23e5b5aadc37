//! The figures of the sold-out gate: the same ones that a lane would have counted.

use metrics::Counter;

use super::{label::label, orders};

/// Counts the orders for this product that were refused as sold out.
#[derive(Clone)]
pub struct SoldOut(Counter);

impl std::fmt::Debug for SoldOut {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SoldOut").finish_non_exhaustive()
    }
}

pub fn sold_out(sku: &str) -> SoldOut {
    SoldOut(orders(&label(sku), "sold_out"))
}

impl SoldOut {
    pub fn increment(&self) {
        self.0.increment(1);
    }
}
