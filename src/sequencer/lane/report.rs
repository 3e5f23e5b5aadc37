//! What a lane tells: its callers, the metrics, the log.

use std::{collections::HashMap, time::Instant};

use super::{
    super::{
        asks::Asks,
        decide::{Decision, Verdict},
    },
    Lane,
};
use crate::{
    domain::Product,
    lock::Guard,
    metrics,
    store::{self, Release},
};

impl Lane {
    pub(super) fn answer(&self, asks: &mut Asks, decision: Decision, product: &Product) {
        if let Some(metrics) = self.metrics.get() {
            let orders = u32::try_from(asks.len()).unwrap_or(u32::MAX);
            metrics.batch_orders.record(orders);
            let mut outcomes = HashMap::new();
            for verdict in &decision.verdicts {
                if let Verdict::Order(outcome) = verdict {
                    *outcomes.entry(outcome.label()).or_default() += 1;
                }
            }
            for (outcome, orders) in outcomes {
                metrics.ordered(outcome, orders);
            }
        }
        asks.answer(decision.verdicts, product);
    }

    /// Tells those beside the batch whom it concerns: operators, the job that ends holds, users.
    pub(super) fn tell_of_changes(&self, decision: &Decision) {
        let expired = decision.released(Release::Expire).len();
        metrics::holds::expired(expired);
        metrics::holds::offered(decision.offers());
        for release in &decision.offers_lost {
            match release {
                Release::Expire => metrics::holds::offer_expired(),
                Release::Cancel | Release::Undo => metrics::holds::offer_cancelled(),
            }
        }
        if let (Some(metrics), Some(waiting)) = (self.metrics.get(), decision.waiting) {
            metrics
                .waitlist
                .set(i32::try_from(waiting).unwrap_or(i32::MAX));
        }
        let ends = decision
            .new
            .orders
            .iter()
            .filter_map(|new| new.order.expires_at);
        if let Some(end) = ends.min() {
            self.context().deadlines.is_known(end);
        }
    }

    /// Learns the product's sku, its label in the metrics, and shows what is known of it.
    pub(super) fn meet(&self, product: &Product) {
        let metrics = self.metrics.get_or_init(|| metrics::product(&product.sku));
        metrics.stock.set(product.stock);
        metrics
            .queue
            .set(u32::try_from(self.inbox.len()).unwrap_or(u32::MAX));
    }

    pub(super) fn complain(&self, error: &store::Error) {
        tracing::warn!(
            product = %self.product_id,
            "cannot write orders of {}: {}", self.product_id, error.chain()
        );
    }

    /// Releases after the answers, and before the next batch if that asks for the `same` key.
    pub(super) async fn release(&self, guard: Guard, same: bool) {
        if !guard.is_valid(Instant::now()) {
            metrics::lock_lost();
        }
        if let Some(metrics) = self.metrics.get() {
            metrics.lock_hold.record(guard.taken().elapsed());
        }
        if same {
            guard.release().await;
        } else {
            self.context().tasks.spawn("release", guard.release());
        }
    }
}
