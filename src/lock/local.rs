//! In-process lock: the same keys and TTL as in Redis, in a map.

use std::{
    collections::HashMap,
    sync::Arc,
    time::{Duration, Instant},
};

use parking_lot::Mutex;

use super::{Attempt, Guard};

/// Key to owner and expiry; an expired entry is free.
type LockedKeys = Arc<Mutex<HashMap<String, (u64, Instant)>>>;

#[derive(Debug)]
pub struct Local {
    ttl: Duration,
    keys: LockedKeys,
}

#[derive(Debug)]
pub(super) struct HeldKey {
    key: String,
    owner: u64,
    keys: LockedKeys,
}

impl Local {
    pub(super) fn new(ttl: Duration) -> Self {
        Self {
            ttl,
            keys: LockedKeys::default(),
        }
    }

    pub(super) fn try_acquire(&self, key: String) -> Attempt {
        let now = Instant::now();
        let mut keys = self.keys.lock();
        if keys
            .get(&key)
            .is_some_and(|(_, expires_at)| now < *expires_at)
        {
            return Attempt::Busy;
        }
        let owner = rand::random();
        keys.insert(key.clone(), (owner, now + self.ttl));
        Attempt::Acquired(Guard {
            taken: now,
            valid_until: now + self.ttl,
            held: super::HeldLock::Local(HeldKey {
                key,
                owner,
                keys: Arc::clone(&self.keys),
            }),
        })
    }
}

impl HeldKey {
    pub(super) fn release(self) {
        let mut keys = self.keys.lock();
        if keys
            .get(&self.key)
            .is_some_and(|(owner, _)| *owner == self.owner)
        {
            keys.remove(&self.key);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn acquired(attempt: Attempt) -> Guard {
        match attempt {
            Attempt::Acquired(guard) => guard,
            other @ (Attempt::Busy | Attempt::NoQuorum | Attempt::Failed) => {
                panic!("not acquired: {other:?}")
            }
        }
    }

    #[tokio::test]
    async fn a_held_key_is_busy_until_it_is_released() {
        let lock = Local::new(Duration::from_mins(1));
        let guard = acquired(lock.try_acquire("a".to_owned()));
        assert!(matches!(lock.try_acquire("a".to_owned()), Attempt::Busy));
        guard.release().await;
        let _guard = acquired(lock.try_acquire("a".to_owned()));
    }

    #[tokio::test]
    async fn an_expired_owner_cannot_release_the_lock_of_the_next_owner() {
        let lock = Local::new(Duration::ZERO);
        let old = acquired(lock.try_acquire("a".to_owned()));
        let lock = Local {
            ttl: Duration::from_mins(1),
            keys: lock.keys,
        };
        let _next = acquired(lock.try_acquire("a".to_owned()));
        old.release().await;
        assert!(matches!(lock.try_acquire("a".to_owned()), Attempt::Busy));
    }
}
