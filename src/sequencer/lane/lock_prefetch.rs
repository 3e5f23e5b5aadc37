//! Prefetches the lock of the next stock level while the current batch commits.
//!
//! The key names the stock level, so a lane can compute the next key as soon as it has decided,
//! and request it before it releases the current one. It does so only while orders are queued
//! here and no other node waits for the product.

use std::{future::Future, time::Duration};

use tokio::sync::oneshot;

use crate::{
    domain::ProductId,
    lock::{Attempt, Lock},
    tasks::Tasks,
};

/// An older lock might expire while its batch is written.
const AGE_MAX: Duration = Duration::from_millis(500);

/// An attempt in progress, or its result.
#[derive(Debug)]
pub(super) struct LockPrefetch {
    stock: i32,
    attempt: oneshot::Receiver<Attempt>,
}

impl LockPrefetch {
    /// Acquires the lock of `product` at `stock` once it is known to be `wanted`.
    pub(super) fn start(
        lock: &Lock,
        product: ProductId,
        stock: i32,
        tasks: &Tasks,
        wanted: impl Future<Output = bool> + Send + 'static,
    ) -> Self {
        let (sender, attempt) = oneshot::channel();
        let lock = lock.clone();
        tasks.spawn("lock prefetch", async move {
            if !wanted.await {
                return;
            }
            let attempt = lock.try_acquire(product, stock).await;
            if let Err(Attempt::Acquired(guard)) = sender.send(attempt) {
                guard.release().await;
            }
        });
        Self { stock, attempt }
    }

    /// The result of the attempt, if it was for this level and is still useful: a busy lock may be
    /// free by now, and an old one is released.
    pub(super) async fn take_at(self, stock: i32, tasks: &Tasks) -> Option<Attempt> {
        if self.stock != stock {
            self.release(tasks);
            return None;
        }
        match self.attempt.await.ok()? {
            Attempt::Busy => None,
            Attempt::Acquired(guard) if guard.taken().elapsed() > AGE_MAX => {
                tasks.spawn("release", guard.release());
                None
            }
            attempt @ (Attempt::Acquired(_) | Attempt::NoQuorum | Attempt::Failed) => Some(attempt),
        }
    }

    /// Releases the unused lock, off the response path.
    pub(super) fn release(self, tasks: &Tasks) {
        tasks.spawn("release", async move {
            if let Ok(Attempt::Acquired(guard)) = self.attempt.await {
                guard.release().await;
            }
        });
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    const TTL: Duration = Duration::from_mins(1);

    fn start(lock: &Lock, product: ProductId, stock: i32, tasks: &Tasks) -> LockPrefetch {
        LockPrefetch::start(lock, product, stock, tasks, std::future::ready(true))
    }

    #[tokio::test]
    async fn an_unused_prefetched_lock_is_released() {
        let (lock, product) = (Lock::local(TTL), ProductId::now_v7());
        let tasks = Tasks::default();

        start(&lock, product, 5, &tasks).release(&tasks);
        let other_level = start(&lock, product, 3, &tasks).take_at(2, &tasks);

        assert!(other_level.await.is_none());
        assert!(tasks.drained(TTL).await);
        for stock in [5, 3] {
            let attempt = lock.try_acquire(product, stock).await;
            assert!(
                matches!(attempt, Attempt::Acquired(_)),
                "{stock}: {attempt:?}"
            );
        }
    }

    #[tokio::test]
    async fn a_lock_that_is_not_wanted_is_not_taken() {
        let (lock, product) = (Lock::local(TTL), ProductId::now_v7());
        let tasks = Tasks::default();

        let wanted = std::future::ready(false);
        let prefetch = LockPrefetch::start(&lock, product, 5, &tasks, wanted);

        assert!(prefetch.take_at(5, &tasks).await.is_none());
        let attempt = lock.try_acquire(product, 5).await;
        assert!(matches!(attempt, Attempt::Acquired(_)), "{attempt:?}");
    }

    #[tokio::test]
    async fn a_prefetched_lock_is_busy_for_others() {
        let (lock, product) = (Lock::local(TTL), ProductId::now_v7());
        let tasks = Tasks::default();

        let taken = start(&lock, product, 5, &tasks).take_at(5, &tasks).await;

        assert!(matches!(taken, Some(Attempt::Acquired(_))), "{taken:?}");
        let second = lock.try_acquire(product, 5).await;
        assert!(matches!(second, Attempt::Busy), "{second:?}");
    }
}
