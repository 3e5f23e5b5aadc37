//! May this request try at all? The gate before the lanes, which must stay cheap: it is passed
//! by every request of a flood.

use std::num::NonZeroU32;

use chrono::{DateTime, Utc};

use crate::{
    domain::{OrderRequest, Outcome, ProductId},
    events::Events,
    metrics,
    redis::Redis,
    store::Store,
    tasks::Tasks,
};

mod rate_limit;
mod sold_out;

pub use rate_limit::RateLimited;

#[derive(Debug)]
pub struct Gate {
    /// Nothing where no limit is set.
    users: Option<rate_limit::Users>,
    sold_out: sold_out::SoldOut,
}

impl Gate {
    /// A limit of zero is none.
    pub fn new(
        rate_limit_per_minute: u32,
        redis: Option<&Redis>,
        (store, events): (Store, Events),
        tasks: &Tasks,
    ) -> Self {
        Self {
            users: NonZeroU32::new(rate_limit_per_minute)
                .map(|limit| rate_limit::Users::new(limit, redis, tasks)),
            sold_out: sold_out::SoldOut::new(store, events, tasks),
        }
    }

    /// Lets a request through, or has its outcome: sold out, as this node knows.
    ///
    /// # Errors
    /// [`RateLimited`] when this user sent too many requests.
    pub async fn admit(
        &self,
        request: &OrderRequest,
        now: DateTime<Utc>,
    ) -> Result<Option<Outcome>, RateLimited> {
        let known = self.sold_out.knows(request, now);
        if let Some(users) = &self.users {
            let user = &request.user_id;
            let admitted = match &known {
                // A flood of refusals must not become a flood of questions to Redis.
                Some(_) => users.admit_here(user),
                None => users.admit(user).await,
            };
            admitted.inspect_err(|_| metrics::rate_limited())?;
        }
        Ok(known.map(|known| known.refuse()))
    }

    /// A lane has found the product sold out.
    pub fn suspect(&self, product: ProductId) {
        self.sold_out.suspect(product);
    }

    /// Forgets users who are far from their limit, until the service stops.
    pub async fn tidy(&self, tasks: &Tasks) {
        let Some(users) = &self.users else { return };
        while tasks.pause(rate_limit::FORGET_EVERY).await {
            users.forget_idle();
        }
    }
}
