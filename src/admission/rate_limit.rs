//! Requests a minute per user: GCRA, a bucket of a minute's requests that refills steadily.
//!
//! Redis counts over all nodes (`shared`). This node's own buckets, which see every request of
//! this node too, decide while Redis is away. Who is blocked is remembered until the next cell is
//! there, so that a flood costs Redis one question per cell.

use std::{
    num::NonZeroU32,
    sync::Arc,
    time::{Duration, Instant},
};

use governor::{
    Quota, RateLimiter,
    clock::{Clock, DefaultClock},
    state::keyed::DefaultKeyedStateStore,
};
use moka::{policy::EvictionPolicy, sync::Cache};

use crate::{domain::UserId, redis::Redis, tasks::Tasks};

mod shared;

/// What an empty bucket needs to be full again.
const BUCKET: Duration = Duration::from_mins(1);
/// A user's state is worth nothing once the bucket is full again.
pub(super) const FORGET_EVERY: Duration = BUCKET;
/// Blocked users who are remembered; for the others Redis is asked.
const BLOCKED_MAX: u64 = 50_000;

/// This user sent too many requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("over {limit} requests a minute")]
pub struct RateLimited {
    pub limit: u32,
    /// After this long the next request is admitted.
    pub retry_after: Duration,
    /// After this long without requests the whole limit is there again.
    pub reset: Duration,
}

/// Users without a cell, and when there will be one.
#[derive(Clone, Debug)]
struct Blocked(Cache<UserId, Instant, ahash::RandomState>);

impl Blocked {
    fn new() -> Self {
        let cache = Cache::builder()
            .max_capacity(BLOCKED_MAX)
            .time_to_live(BUCKET)
            .eviction_policy(EvictionPolicy::lru());
        Self(cache.build_with_hasher(ahash::RandomState::default()))
    }

    fn insert(&self, user: &UserId, wait: Duration) {
        self.0.insert(Arc::clone(user), Instant::now() + wait);
    }

    fn wait(&self, user: &UserId) -> Option<Duration> {
        let until = self.0.get(user)?;
        let wait = until.saturating_duration_since(Instant::now());
        (wait > Duration::ZERO).then_some(wait)
    }
}

#[derive(Debug)]
pub(super) struct Users {
    limit: NonZeroU32,
    blocked: Blocked,
    here: RateLimiter<UserId, DefaultKeyedStateStore<UserId>, DefaultClock>,
    shared: Option<shared::Shared>,
}

impl Users {
    pub(super) fn new(limit: NonZeroU32, redis: Option<&Redis>, tasks: &Tasks) -> Self {
        let blocked = Blocked::new();
        let shared = redis.map(|redis| {
            let cell = BUCKET / limit.get();
            shared::Shared::new(redis.clone(), cell, blocked.clone(), tasks)
        });
        Self {
            limit,
            blocked,
            here: RateLimiter::keyed(Quota::per_minute(limit)),
            shared,
        }
    }

    /// Takes a cell of the user's over all nodes.
    pub(super) async fn admit(&self, user: &UserId) -> Result<(), RateLimited> {
        self.refuse_blocked(user)?;
        // Counts in any case: should Redis go, this bucket knows what this node has admitted.
        let here = self.take_here(user);
        let Some(shared) = &self.shared else {
            return here;
        };
        match shared.take(user).await {
            Some(Duration::ZERO) => Ok(()),
            Some(wait) => {
                self.blocked.insert(user, wait);
                Err(self.refusal(wait))
            }
            None => here,
        }
    }

    /// Takes a cell without asking Redis, which is told later.
    pub(super) fn admit_here(&self, user: &UserId) -> Result<(), RateLimited> {
        self.refuse_blocked(user)?;
        self.take_here(user)?;
        if let Some(shared) = &self.shared {
            shared.owe(user);
        }
        Ok(())
    }

    pub(super) fn forget_idle(&self) {
        self.here.retain_recent();
        self.here.shrink_to_fit();
    }

    fn refuse_blocked(&self, user: &UserId) -> Result<(), RateLimited> {
        match self.blocked.wait(user) {
            Some(wait) => Err(self.refusal(wait)),
            None => Ok(()),
        }
    }

    fn take_here(&self, user: &UserId) -> Result<(), RateLimited> {
        let now = self.here.clock().now();
        let taken = self.here.check_key(user);
        taken.map_err(|refusal| self.refusal(refusal.wait_time_from(now)))
    }

    /// The bucket is empty but for what has come back since the last cell.
    fn refusal(&self, retry_after: Duration) -> RateLimited {
        let cell = BUCKET / self.limit.get();
        RateLimited {
            limit: self.limit.get(),
            retry_after,
            reset: (BUCKET + retry_after).saturating_sub(cell),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_request_over_the_limit_is_refused_for_its_user_alone() {
        let users = Users::new(NonZeroU32::new(3).unwrap(), None, &Tasks::default());
        let (greedy, modest) = (UserId::from("greedy"), UserId::from("modest"));
        for _ in 0..3 {
            assert_eq!(users.admit(&greedy).await, Ok(()));
        }
        let refusal = users.admit(&greedy).await.unwrap_err();
        assert_eq!(refusal.limit, 3);
        assert!(refusal.retry_after > Duration::ZERO);
        assert!(refusal.retry_after <= Duration::from_secs(20));
        assert!(refusal.reset >= Duration::from_secs(40));
        assert_eq!(users.admit(&modest).await, Ok(()));
    }

    #[test]
    fn a_blocked_user_is_remembered_until_the_next_cell() {
        let blocked = Blocked::new();
        let user = UserId::from("greedy");
        blocked.insert(&user, Duration::ZERO);
        assert_eq!(blocked.wait(&user), None);
        blocked.insert(&user, Duration::from_secs(9));
        assert!(blocked.wait(&user) > Some(Duration::from_secs(8)));
    }
}
