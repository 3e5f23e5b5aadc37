//! Rate limiter per user, one limit over all nodes.
//!
//! Redis counts over all nodes (`rate_limit/redis.rs`). A node asks it only about users who matter:
//! each user may take a few cells on each node that Redis learns of later, in one sum with the next
//! question (`rate_limit/buckets.rs`). This node's own buckets, which count every request of this
//! node, decide while Redis is unreachable, and Redis learns of those requests later. They also
//! remember until when Redis has refused a user, so that a flood costs Redis one call per cell.

use std::{
    num::NonZeroU32,
    sync::Arc,
    time::{Duration, Instant},
};

use self::{
    buckets::{Buckets, Claim},
    redis::Counted,
};
use super::gcra::{BUCKET, Gcra, RateLimited};
use crate::{domain::UserId, metrics, redis::Redis, tasks::Tasks};

mod buckets;
mod nodes;
mod redis;

pub(super) use self::nodes::Nodes;

/// How often idle users are dropped: a full bucket needs no state.
pub(super) const DROP_IDLE_EVERY: Duration = BUCKET;

/// The key in Redis of a user's bucket.
pub(super) type RateKey = fn(&str) -> String;

#[derive(Debug)]
pub(super) struct UserLimiter {
    rule: Gcra,
    buckets: Arc<Buckets>,
    shared: Option<Shared>,
}

/// The count over all nodes.
#[derive(Debug)]
struct Shared {
    redis: redis::RedisLimiter,
    nodes: Nodes,
}

impl UserLimiter {
    /// `redis` counts over all nodes; without it this node counts alone.
    pub(super) fn new(
        limit: NonZeroU32,
        redis: Option<(&Redis, &Nodes)>,
        key: RateKey,
        tasks: &Tasks,
    ) -> Self {
        let rule = Gcra::new(limit, Instant::now());
        let buckets = Arc::new(Buckets::new(rule));
        let shared = redis.map(|(redis, nodes)| {
            let buckets = Arc::clone(&buckets);
            Shared {
                redis: redis::RedisLimiter::new(redis.clone(), key, rule, buckets, tasks),
                nodes: nodes.clone(),
            }
        });
        Self {
            rule,
            buckets,
            shared,
        }
    }

    /// Takes a cell from the user's bucket over all nodes.
    pub(super) async fn admit(&self, user: &UserId) -> Result<(), RateLimited> {
        let Claim::Ask { owed, local } = self.claim(user)? else {
            return Ok(());
        };
        let Some(shared) = &self.shared else {
            return local;
        };
        match shared.redis.take(user, owed, local.is_ok()).await {
            Some(Counted::Left(_)) => Ok(()),
            Some(Counted::Over(wait)) => Err(self.rule.refusal(wait)),
            None => {
                metrics::rate_limit_fallback();
                local
            }
        }
    }

    pub(super) fn drop_idle(&self) {
        self.buckets.drop_idle(Instant::now());
    }

    fn claim(&self, user: &UserId) -> Result<Claim, RateLimited> {
        let nodes = self
            .shared
            .as_ref()
            .and_then(|shared| shared.nodes.number());
        self.buckets.claim(user, nodes, Instant::now())
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
}
