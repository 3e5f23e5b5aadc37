//! Product lock (Redlock or in-process): it avoids conflicts; the database guarantees correctness.
//!
//! One attempt returns at once, acquired or not: the lane waits, and re-reads the stock between two
//! attempts. Only its owner releases a lock; a lost one expires with its TTL.

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

mod fault;
mod health;
mod local;
mod node;
mod redlock;

pub use self::fault::Fault;

/// The result of an attempt to acquire the lock.
#[derive(Debug)]
pub enum Attempt {
    Acquired(Guard),
    /// No quorum for this product and stock level: another owner has it, or nodes have died since
    /// the last health check.
    Busy,
    /// Fewer than a majority of nodes answer: only the fence protects the stock.
    NoQuorum,
    /// The nodes did not answer the attempt in time.
    Failed,
}

/// The number of usable lock nodes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Health {
    /// Configured nodes; 0 for the in-process lock.
    pub nodes: usize,
    pub healthy: usize,
}

impl Health {
    pub fn has_quorum(self) -> bool {
        self.nodes == 0 || self.healthy > self.nodes / 2
    }
}

/// The lock service; clones share it.
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

    /// An in-process lock, for one node without Redis.
    pub fn local(ttl: Duration) -> Self {
        metrics::lock::nodes(0, false);
        fault::report(&[]);
        Self::Local(Arc::new(local::Local::new(ttl)))
    }

    /// Tries once to acquire the lock of `product` at `stock`.
    pub async fn try_acquire(&self, product: ProductId, stock: i32) -> Attempt {
        let key = lock_key(product, stock);
        match self {
            Self::Redlock(redlock) => redlock.try_acquire(key).await,
            Self::Local(local) => local.try_acquire(key),
        }
    }

    /// Why each configured node is out of the lock, in the order of the settings; none for one that
    /// is in use.
    pub fn faults(&self) -> Vec<Option<Fault>> {
        match self {
            Self::Redlock(redlock) => redlock.faults(),
            Self::Local(_) => Vec::new(),
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

/// An acquired lock. It has no `Drop`: a release calls the nodes, so it must be awaited.
#[derive(Debug)]
#[must_use = "release it, or the key stays until its TTL ends"]
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
    /// Whether this guard certainly still holds the lock.
    pub fn is_valid(&self, now: Instant) -> bool {
        now < self.valid_until
    }

    pub fn taken(&self) -> Instant {
        self.taken
    }

    /// Releases the lock, if this guard still holds it.
    pub async fn release(self) {
        match self.held {
            HeldLock::Redlock(lock) => redlock::release(*lock).await,
            HeldLock::Local(held) => held.release(),
        }
    }
}
