//! The product lock: it saves work, the database keeps the promise.
//!
//! A try answers at once, taken or not: waiting is the lane's business, which re-reads the stock
//! between two tries. A guard is released by its owner only; lost or forgotten it ends with its
//! time to live.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use crate::{
    domain::{ProductId, Secret},
    metrics,
    redis::lock_key,
    tasks::Tasks,
};

mod health;
mod local;
mod redlock;

/// What a try to take the lock came to.
#[derive(Debug)]
pub enum Attempt {
    Acquired(Guard),
    /// Somebody else has this product at this stock level.
    Busy,
    /// Fewer nodes answer than a majority: the database guard works alone.
    NoQuorum,
    /// The nodes were asked and did not answer in time.
    Failed,
}

/// How the lock works right now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Health {
    /// Nodes that were configured; 0 for the in-process lock.
    pub nodes: usize,
    pub healthy: usize,
}

impl Health {
    pub fn has_quorum(self) -> bool {
        self.nodes == 0 || self.healthy > self.nodes / 2
    }
}

/// One lock service; clones share it.
#[derive(Clone, Debug)]
pub enum Lock {
    Redlock(Arc<redlock::Redlock>),
    Local(Arc<local::Local>),
}

impl Lock {
    /// Redlock over independent Redis nodes, given as URLs that `redis` can parse.
    pub fn redlock(
        nodes: &[Secret],
        ttl: Duration,
        tasks: &Tasks,
    ) -> Result<Self, redis::RedisError> {
        let redlock = Arc::new(redlock::Redlock::new(nodes, ttl, tasks.clone())?);
        tasks.spawn(
            "lock health",
            health::watch(Arc::clone(&redlock), tasks.clone()),
        );
        Ok(Self::Redlock(redlock))
    }

    /// A lock inside this process, for one node without Redis.
    pub fn local(ttl: Duration) -> Self {
        metrics::lock_nodes(0, false);
        Self::Local(Arc::new(local::Local::new(ttl)))
    }

    /// Tries once to take the lock of `product` at `stock`.
    pub async fn try_acquire(&self, product: ProductId, stock: i32) -> Attempt {
        let key = lock_key(product, stock);
        match self {
            Self::Redlock(redlock) => redlock.try_acquire(key).await,
            Self::Local(local) => local.try_acquire(key),
        }
    }

    pub fn health(&self) -> Health {
        match self {
            Self::Redlock(redlock) => redlock.health(),
            Self::Local(_) => Health {
                nodes: 0,
                healthy: 0,
            },
        }
    }
}

/// A lock that we took. It has no `Drop`: a release talks to the nodes, so it must be awaited.
#[derive(Debug)]
#[must_use = "release it, or the key stays until its time to live ends"]
pub struct Guard {
    taken: Instant,
    valid_until: Instant,
    held: HeldLock,
}

#[derive(Debug)]
enum HeldLock {
    Redlock(Box<rslock::Lock>),
    Local(local::HeldKey),
}

impl Guard {
    /// Whether the lock is surely still ours.
    pub fn is_valid(&self, now: Instant) -> bool {
        now < self.valid_until
    }

    pub fn taken(&self) -> Instant {
        self.taken
    }

    /// Gives the lock back, if it is still ours.
    pub async fn release(self) {
        match self.held {
            HeldLock::Redlock(lock) => redlock::release(*lock).await,
            HeldLock::Local(held) => held.release(),
        }
    }
}
