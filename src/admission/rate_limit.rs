//! Rate limiter per user (GCRA): a bucket of a minute's requests that refills steadily.
//!
//! Redis counts over all nodes (`rate_limit/redis.rs`). This node's own buckets, which count every
//! request of this node too, decide while Redis is unreachable. Blocked users are cached until
//! their next cell, so that a flood costs Redis one call per cell.

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

mod redis;

/// How long an empty bucket takes to refill.
const BUCKET: Duration = Duration::from_mins(1);
/// How often idle users are dropped: a full bucket needs no state.
pub(super) const DROP_IDLE_EVERY: Duration = BUCKET;
/// Blocked users in the cache; requests of further ones call Redis.
const BLOCKED_MAX: u64 = 50_000;

/// This user sent too many requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("over {limit} requests a minute")]
pub struct RateLimited {
    pub limit: u32,
    /// After this long the next request is admitted.
    pub retry_after: Duration,
    /// After this long without requests the whole limit is available again.
    pub reset: Duration,
}

/// The key in Redis of a user's bucket.
pub(super) type RateKey = fn(&str) -> String;

/// Users without a cell, with the time of their next one.
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
pub(super) struct UserLimiter {
    limit: NonZeroU32,
    blocked: Blocked,
    local: RateLimiter<UserId, DefaultKeyedStateStore<UserId>, DefaultClock>,
    redis: Option<redis::RedisLimiter>,
}

impl UserLimiter {
    pub(super) fn new(
        limit: NonZeroU32,
        redis: Option<&Redis>,
        key: RateKey,
        tasks: &Tasks,
    ) -> Self {
        let blocked = Blocked::new();
        let redis = redis.map(|redis| {
            let cell = BUCKET / limit.get();
            redis::RedisLimiter::new(redis.clone(), key, cell, blocked.clone(), tasks)
        });
        Self {
            limit,
            blocked,
            local: RateLimiter::keyed(Quota::per_minute(limit)),
            redis,
        }
    }

    /// Takes a cell from the user's bucket over all nodes.
    pub(super) async fn admit(&self, user: &UserId) -> Result<(), RateLimited> {
        self.refuse_blocked(user)?;
        // Always counts, so that this node's bucket is right when Redis fails.
        let local = self.take_local(user);
        let Some(redis) = &self.redis else {
            return local;
        };
        match redis.take(user).await {
            Some(Duration::ZERO) => Ok(()),
            Some(wait) => {
                self.blocked.insert(user, wait);
                Err(self.refusal(wait))
            }
            None => local,
        }
    }

    /// Takes a cell from this node's bucket; it is reported to Redis later.
    pub(super) fn admit_local(&self, user: &UserId) -> Result<(), RateLimited> {
        self.refuse_blocked(user)?;
        self.take_local(user)?;
        if let Some(redis) = &self.redis {
            redis.report_later(user);
        }
        Ok(())
    }

    pub(super) fn drop_idle(&self) {
        self.local.retain_recent();
        self.local.shrink_to_fit();
    }

    fn refuse_blocked(&self, user: &UserId) -> Result<(), RateLimited> {
        match self.blocked.wait(user) {
            Some(wait) => Err(self.refusal(wait)),
            None => Ok(()),
        }
    }

    fn take_local(&self, user: &UserId) -> Result<(), RateLimited> {
        let now = self.local.clock().now();
        let taken = self.local.check_key(user);
        taken.map_err(|refusal| self.refusal(refusal.wait_time_from(now)))
    }

    /// The refusal of a user whose bucket has less than one cell.
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
        let limit = NonZeroU32::new(3).unwrap();
        let users = UserLimiter::new(limit, None, crate::redis::rate_key, &Tasks::default());
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
    fn a_user_stays_blocked_until_the_next_cell() {
        let blocked = Blocked::new();
        let user = UserId::from("greedy");
        blocked.insert(&user, Duration::ZERO);
        assert_eq!(blocked.wait(&user), None);
        blocked.insert(&user, Duration::from_secs(9));
        assert!(blocked.wait(&user) > Some(Duration::from_secs(8)));
    }
}
