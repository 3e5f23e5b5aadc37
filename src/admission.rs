//! Admission control before the lanes: the rate limits per user and the sold-out gate.
//!
//! Every order request passes these checks, so each check must stay cheap.

use std::num::NonZeroU32;

use chrono::{DateTime, Utc};

use self::rate_limit::{Nodes, RateKey, UserLimiter};
use crate::{
    domain::{OrderRequest, Outcome, ProductId, UserId},
    metrics,
    redis::{Redis, confirmation_rate_key, rate_key},
    tasks::Tasks,
};

mod addresses;
mod gcra;
mod rate_limit;
mod sold_out;
mod streams;

pub use self::{
    addresses::AddressLimiter,
    gcra::RateLimited,
    sold_out::SoldOutSource,
    streams::{StreamBounds, StreamPlace, StreamRefused, Streams, Watcher},
};

/// Confirmations a minute of one user, over all nodes: enough for a buyer who repeats a call, and
/// too few to try out stolen cards.
const CONFIRMATIONS_PER_MINUTE: NonZeroU32 = NonZeroU32::new(30).unwrap();

#[derive(Debug)]
pub struct Gate {
    /// `None` where the limit is disabled.
    users: Option<UserLimiter>,
    confirmations: UserLimiter,
    sold_out: sold_out::SoldOutGate,
}

impl Gate {
    /// A limit of `0` disables the rate limit of orders.
    pub fn new(
        rate_limit_per_minute: u32,
        redis: Option<&Redis>,
        sold_out: SoldOutSource,
        tasks: &Tasks,
    ) -> Self {
        let nodes = redis.map(|redis| Nodes::count_on(redis, tasks));
        let limiter =
            |limit, key: RateKey| UserLimiter::new(limit, redis.zip(nodes.as_ref()), key, tasks);
        Self {
            users: NonZeroU32::new(rate_limit_per_minute).map(|limit| limiter(limit, rate_key)),
            confirmations: limiter(CONFIRMATIONS_PER_MINUTE, confirmation_rate_key),
            sold_out: sold_out::SoldOutGate::new(sold_out, tasks),
        }
    }

    /// Admits a request; `Some` when the sold-out gate refuses it.
    ///
    /// # Errors
    /// [`RateLimited`] when this user sent too many requests.
    pub async fn admit(
        &self,
        request: &OrderRequest,
        now: DateTime<Utc>,
    ) -> Result<Option<Outcome>, RateLimited> {
        let sold_out = self.sold_out.find(request, now);
        if let Some(users) = &self.users {
            let admitted = users.admit(&request.user_id).await;
            admitted.inspect_err(|_| metrics::rate_limited())?;
        }
        Ok(sold_out.map(|product| product.refuse()))
    }

    /// Admits a confirmation.
    ///
    /// # Errors
    /// [`RateLimited`] when this user sent too many of them.
    pub async fn admit_confirmation(&self, user: &UserId) -> Result<(), RateLimited> {
        let admitted = self.confirmations.admit(user).await;
        admitted.inspect_err(|_| metrics::payments::confirmation_refused("user"))
    }

    /// Reports that a lane found the product sold out.
    pub fn suspect(&self, product: ProductId) {
        self.sold_out.suspect(product);
    }

    /// Drops the state of idle users, until the service stops.
    pub async fn run_cleanup(&self, tasks: &Tasks) {
        while tasks.pause(rate_limit::DROP_IDLE_EVERY).await {
            self.confirmations.drop_idle();
            if let Some(users) = &self.users {
                users.drop_idle();
            }
        }
    }
}
