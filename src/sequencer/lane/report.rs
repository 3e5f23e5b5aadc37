//! What a lane tells: its callers, the metrics, the log.

use std::time::{Duration, Instant};

use super::{
    super::{
        Error,
        asks::Asks,
        decide::{Decision, Verdict},
    },
    Lane,
};
use crate::{domain::Product, lock::Guard, metrics, store};

impl Lane {
    pub(super) fn answer(&self, asks: &mut Asks, decision: Decision, product: &Product) {
        if let Some(metrics) = &self.metrics {
            let orders = u32::try_from(asks.len()).unwrap_or(u32::MAX);
            metrics.batch_orders.record(orders);
            for verdict in &decision.verdicts {
                if let Verdict::Order(outcome) = verdict {
                    metrics.ordered(outcome.label(), 1);
                }
            }
        }
        asks.answer(decision.verdicts, product);
    }

    pub(super) fn refuse_older(&self, asks: &mut Asks, patience: Duration, error: Error) {
        let refused = asks.refuse_older(patience, error);
        self.count(
            error.label(),
            usize::try_from(refused).unwrap_or(usize::MAX),
        );
    }

    pub(super) fn count(&self, outcome: &'static str, orders: usize) {
        let orders = u64::try_from(orders).unwrap_or(u64::MAX);
        match &self.metrics {
            Some(metrics) if orders > 0 => metrics.ordered(outcome, orders),
            Some(_) | None => {}
        }
    }

    /// Learns the product's sku, its label in the metrics, and shows what is known of it.
    pub(super) fn meet(&mut self, product: &Product) {
        let metrics = self
            .metrics
            .get_or_insert_with(|| metrics::product(&product.sku));
        metrics.stock.set(product.stock);
        metrics
            .queue
            .set(u32::try_from(self.inbox.len()).unwrap_or(u32::MAX));
    }

    pub(super) fn complain(&self, error: &store::Error) {
        tracing::warn!(
            product = %self.product_id,
            %error,
            "cannot write orders of {}: {error}", self.product_id
        );
    }

    /// Releases off the response path.
    pub(super) fn release(&self, guard: Guard) {
        if !guard.is_valid(Instant::now()) {
            metrics::lock_lost();
        }
        if let Some(metrics) = &self.metrics {
            metrics.lock_hold.record(guard.taken().elapsed());
        }
        self.context().tasks.spawn("release", guard.release());
    }
}
