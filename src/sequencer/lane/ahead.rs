//! The lock of the next stock level, taken while the batch before it commits.
//!
//! The key names the stock level, so a lane knows its next key as soon as it has decided, and may
//! ask for it before the last one is released. It does so only when orders wait here already and
//! no other node waits for the product.

use tokio::sync::oneshot;

use crate::{
    domain::ProductId,
    lock::{Attempt, Lock},
    tasks::Tasks,
};

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

    /// What the try came to, if it was for this level; otherwise the lock is given back.
    pub(super) async fn at(self, stock: i32, tasks: &Tasks) -> Option<Attempt> {
        if self.stock == stock {
            return self.attempt.await.ok();
        }
        self.give_back(tasks);
        None
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
