//! The lane's reports: replies to callers, product metrics, hold deadlines, log lines.

use std::{collections::HashMap, time::Instant};

use super::{
    super::{
        decide::{Decision, Reply},
        pending::PendingBatch,
    },
    Lane,
};
use crate::{
    domain::Product,
    lock::Guard,
    metrics,
    store::{self, Release, log_audit},
};

impl Lane {
    /// Counts the outcomes and replies to the callers.
    pub(super) fn reply(
        &mut self,
        pending: &mut PendingBatch,
        decision: Decision,
        product: &Product,
    ) {
        if let Some(metrics) = self.metrics.get() {
            let orders = u32::try_from(pending.len()).unwrap_or(u32::MAX);
            metrics.batch_orders.record(orders);
            let mut outcomes = HashMap::new();
            for reply in &decision.replies {
                if let Reply::Order(outcome) = reply {
                    *outcomes.entry(outcome.label()).or_default() += 1;
                }
            }
            for (outcome, orders) in outcomes {
                metrics.ordered(outcome, orders);
            }
        }
        self.trace.end();
        pending.reply(decision.replies, product);
    }

    /// Reports holds, offers and the waitlist to the metrics, new holds to the expiry job, and
    /// restocks and cancellations to the log.
    pub(super) fn report_changes(&self, decision: &Decision) {
        log_audit(&decision.audit);
        let expired = decision.released_by(Release::Expire).len();
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
        let orders = decision.new.orders.iter();
        if let Some(end) = orders.filter_map(|new| new.order.expires_at).min() {
            self.context.deadlines.add(end);
        }
    }

    /// Sets the product's gauges; the first call registers its metrics under its sku.
    pub(super) fn update_gauges(&self, product: &Product) {
        let metrics = self.metrics.get_or_init(|| metrics::product(&product.sku));
        metrics.stock.set(product.stock.on_hand);
        metrics
            .queue
            .set(u32::try_from(self.inbox.len()).unwrap_or(u32::MAX));
    }

    /// Reports how long the sale took, if the batch sold the last unit.
    pub(super) fn report_sold_out(&self, before: &Product, after: &Product) {
        if before.stock.on_hand == 0 || after.stock.on_hand > 0 {
            return;
        }
        let start = after.starts_at.unwrap_or(after.created_at);
        let took = self.parts().store.now() - start.max(after.created_at);
        if let (Some(metrics), Ok(took)) = (self.metrics.get(), took.to_std()) {
            metrics.sold_out(took);
        }
    }

    pub(super) fn log_failure(&self, error: &store::Error) {
        let traceparent = self.trace.context().map(tracing::field::display);
        tracing::warn!(
            product = %self.product_id, traceparent,
            "cannot write orders of {}: {}", self.product_id, error.chain()
        );
    }

    /// Releases after the replies; before the next batch only if that needs the `same` key.
    pub(super) async fn release_lock(&self, guard: Guard, same: bool) {
        if !guard.is_valid(Instant::now()) {
            metrics::lock::lost();
        }
        if let Some(metrics) = self.metrics.get() {
            metrics.lock_hold.record(guard.taken().elapsed());
        }
        if same {
            guard.release().await;
        } else {
            self.parts().tasks.spawn("release", guard.release());
        }
    }
}
