//! The lane's lock step: acquires the lock of the row's level, or goes on without it.

use std::time::Instant;

use super::{Lane, Step, busy_lock::BusyLock};
use crate::{
    domain::Product,
    lock::{Attempt, Guard},
    telemetry::traces::Attribute,
};

impl Lane {
    /// Acquires the lock of the row's level, or uses the prefetched one.
    async fn acquire(&mut self, product: &Product) -> Attempt {
        let level = product.stock.on_hand;
        if let Some(prefetch) = self.prefetch.take()
            && let Some(attempt) = prefetch.take_at(level, &self.parts().tasks).await
        {
            return attempt;
        }
        self.parts().lock.try_acquire(product.id, level).await
    }

    /// Acquires the lock. Without a majority of lock nodes, when they do not answer in time, or when
    /// the holder shows no sign of life, the batch goes on without it, under the fence alone.
    pub(super) async fn lock(
        &mut self,
        product: &Product,
        begun: Instant,
    ) -> Result<Option<Guard>, Step> {
        self.trace.begin_lock();
        let attempt = self.acquire(product).await;
        self.trace.end_step();
        self.trace.describe(|| described(product, &attempt));
        let Some(metrics) = self.metrics.get() else {
            return Ok(None);
        };
        match attempt {
            Attempt::Acquired(guard) => {
                metrics.acquired.increment(1);
                metrics.lock_wait.record(begun.elapsed());
                self.busy_lock = None;
                Ok(Some(guard))
            }
            Attempt::Busy => {
                metrics.busy.increment(1);
                if self.passes_by(product, Instant::now()) {
                    Ok(None)
                } else {
                    Err(Step::Busy)
                }
            }
            Attempt::NoQuorum => {
                metrics.no_quorum.increment(1);
                Ok(None)
            }
            Attempt::Failed => {
                metrics.lock_error.increment(1);
                Ok(None)
            }
        }
    }

    /// Notes that the lock of the row's level is busy; whether the batch goes on without it.
    fn passes_by(&mut self, product: &Product, now: Instant) -> bool {
        let mut busy = BusyLock::tried(self.busy_lock.take(), product.into(), now);
        let passes_by = busy.is_passed_by(self.context.bounds.patience, now);
        if passes_by {
            if let Some(metrics) = self.metrics.get() {
                metrics.lock_bypassed.increment(1);
            }
            if busy.pass_by() {
                let (product, level) = (product.id, product.stock.on_hand);
                let traceparent = self.trace.context().map(tracing::field::display);
                tracing::warn!(
                    %product, level, traceparent,
                    "the lock of {product} at {level} stays busy, and nobody writes: \
                     its holder is dead or paused, and is passed by"
                );
            }
        }
        self.busy_lock = Some(busy);
        passes_by
    }
}

/// The attributes of the span of an attempt.
fn described(product: &Product, attempt: &Attempt) -> Vec<Attribute> {
    let result = match attempt {
        Attempt::Acquired(_) => "acquired",
        Attempt::Busy => "busy",
        Attempt::NoQuorum => "no_quorum",
        Attempt::Failed => "failed",
    };
    vec![
        Attribute::number("flash_sale.lock.level", product.stock.on_hand),
        Attribute::text("flash_sale.lock.result", result),
    ]
}
