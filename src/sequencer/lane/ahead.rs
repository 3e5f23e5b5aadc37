//! The lock of the next stock level, taken while the batch before it commits.
//!
//! The key names the stock level, so a lane knows its next key as soon as it has decided, and may
//! ask for it before the last one is released. It does so only when orders wait here already and
//! no other node waits for the product.

use std::time::Duration;

use tokio::sync::oneshot;

use crate::{
    domain::ProductId,
    lock::{Attempt, Lock},
    tasks::Tasks,
};

/// A lock that was taken longer ago might run out while its batch is written.
const FRESH: Duration = Duration::from_millis(500);

/// A try under way, or its result.
#[derive(Debug)]
pub(super) struct Ahead {
    stock: i32,
    attempt: oneshot::Receiver<Attempt>,
}

impl Ahead {
    /// Begins to take the lock of `product` at `stock`.
    pub(super) fn begin(lock: &Lock, product: ProductId, stock: i32, tasks: &Tasks) -> Self {
        let (taken, attempt) = oneshot::channel();
        let lock = lock.clone();
        tasks.spawn("lock ahead", async move {
            let attempt = lock.try_acquire(product, stock).await;
            if let Err(Attempt::Acquired(guard)) = taken.send(attempt) {
                guard.release().await;
            }
        });
        Self { stock, attempt }
    }

    /// What the try came to, if it was for this level and is worth something: who was busy then
    /// may not be any more.
    pub(super) async fn at(self, stock: i32, tasks: &Tasks) -> Option<Attempt> {
        if self.stock != stock {
            self.give_back(tasks);
            return None;
        }
        match self.attempt.await.ok()? {
            Attempt::Busy => None,
            Attempt::Acquired(guard) if guard.taken().elapsed() > FRESH => {
                tasks.spawn("release", guard.release());
                None
            }
            attempt @ (Attempt::Acquired(_) | Attempt::NoQuorum | Attempt::Failed) => Some(attempt),
        }
    }

    /// Releases off the response path what was taken in vain.
    pub(super) fn give_back(self, tasks: &Tasks) {
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

    #[tokio::test]
    async fn a_lock_that_was_taken_in_vain_is_free_again() {
        let (lock, product) = (Lock::local(TTL), ProductId::now_v7());
        let tasks = Tasks::default();

        Ahead::begin(&lock, product, 5, &tasks).give_back(&tasks);
        let other_level = Ahead::begin(&lock, product, 3, &tasks).at(2, &tasks);

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
    async fn nobody_else_gets_a_lock_that_was_taken_ahead() {
        let (lock, product) = (Lock::local(TTL), ProductId::now_v7());
        let tasks = Tasks::default();

        let taken = Ahead::begin(&lock, product, 5, &tasks).at(5, &tasks).await;

        assert!(matches!(taken, Some(Attempt::Acquired(_))), "{taken:?}");
        let second = lock.try_acquire(product, 5).await;
        assert!(matches!(second, Attempt::Busy), "{second:?}");
    }
}
