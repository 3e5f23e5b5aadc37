//! Admission control before the lanes: the rate limit per user and the sold-out gate.
//!
//! Every order request passes these checks, so each check must stay cheap.

use std::num::NonZeroU32;

use chrono::{DateTime, Utc};

use crate::{
    domain::{OrderRequest, Outcome, ProductId},
    metrics,
    redis::Redis,
    tasks::Tasks,
};

mod addresses;
mod rate_limit;
mod sold_out;
mod streams;

pub use self::{
    addresses::AddressLimiter,
    rate_limit::RateLimited,
    sold_out::SoldOutSource,
    streams::{StreamBounds, StreamPlace, StreamRefused, Streams, Watcher},
};

#[derive(Debug)]
pub struct Gate {
    /// `None` where the limit is disabled.
    users: Option<rate_limit::UserLimiter>,
    sold_out: sold_out::SoldOutGate,
}

impl Gate {
    /// A limit of `0` disables the rate limit.
    pub fn new(
        rate_limit_per_minute: u32,
        redis: Option<&Redis>,
        sold_out: SoldOutSource,
        tasks: &Tasks,
    ) -> Self {
        Self {
            users: NonZeroU32::new(rate_limit_per_minute)
                .map(|limit| rate_limit::UserLimiter::new(limit, redis, tasks)),
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
            let user = &request.user_id;
            let admitted = match &sold_out {
                // A flood of refusals must not become a flood of calls to Redis.
                Some(_) => users.admit_local(user),
                None => users.admit(user).await,
            };
            admitted.inspect_err(|_| metrics::rate_limited())?;
        }
        Ok(sold_out.map(|product| product.refuse()))
    }

    /// Reports that a lane found the product sold out.
    pub fn suspect(&self, product: ProductId) {
        self.sold_out.suspect(product);
    }

    /// Drops the state of idle users, until the service stops.
    pub async fn run_cleanup(&self, tasks: &Tasks) {
        let Some(users) = &self.users else { return };
        while tasks.pause(rate_limit::DROP_IDLE_EVERY).await {
            users.drop_idle();
        }
    }
}
