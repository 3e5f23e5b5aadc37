//! Requests a minute per user on this node: GCRA, by governor.

use std::{num::NonZeroU32, time::Duration};

use governor::{
    Quota, RateLimiter,
    clock::{Clock, DefaultClock},
    state::keyed::DefaultKeyedStateStore,
};

use crate::{domain::UserId, metrics};

/// A user's state is worth nothing once the bucket is full again, which takes a minute at most.
pub(super) const FORGET_EVERY: Duration = Duration::from_mins(1);

/// This user sent too many requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("over {limit} requests a minute")]
pub struct RateLimited {
    pub limit: u32,
    /// After this long the next request is admitted.
    pub retry_after: Duration,
}

#[derive(Debug)]
pub(super) struct Users {
    limit: NonZeroU32,
    limiter: RateLimiter<UserId, DefaultKeyedStateStore<UserId>, DefaultClock>,
}

impl Users {
    pub(super) fn new(per_minute: u32) -> Self {
        let limit = NonZeroU32::new(per_minute).unwrap_or(NonZeroU32::MIN);
        Self {
            limit,
            limiter: RateLimiter::keyed(Quota::per_minute(limit)),
        }
    }

    pub(super) fn admit(&self, user: &UserId) -> Result<(), RateLimited> {
        self.limiter.check_key(user).map_err(|refusal| {
            metrics::rate_limited();
            RateLimited {
                limit: self.limit.get(),
                retry_after: refusal.wait_time_from(self.limiter.clock().now()),
            }
        })
    }

    pub(super) fn forget_idle(&self) {
        self.limiter.retain_recent();
        self.limiter.shrink_to_fit();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_request_over_the_limit_is_refused_for_its_user_alone() {
        let users = Users::new(3);
        let (greedy, modest) = (UserId::from("greedy"), UserId::from("modest"));
        for _ in 0..3 {
            assert_eq!(users.admit(&greedy), Ok(()));
        }
        let refusal = users.admit(&greedy).unwrap_err();
        assert_eq!(refusal.limit, 3);
        assert!(refusal.retry_after > Duration::ZERO);
        assert!(refusal.retry_after <= Duration::from_secs(20));
        assert_eq!(users.admit(&modest), Ok(()));
    }
}
