//! May this request try at all? The gate before the lanes, which must stay cheap: it is passed
//! by every request of a flood.

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
    users: rate_limit::Users,
    sold_out: sold_out::SoldOut,
}

impl Gate {
    pub fn new(
        rate_limit_per_minute: u32,
        redis: Option<&Redis>,
        (store, events): (Store, Events),
        tasks: &Tasks,
    ) -> Self {
        Self {
            users: rate_limit::Users::new(rate_limit_per_minute, redis, tasks),
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
        let user = &request.user_id;
        let known = self.sold_out.knows(request, now);
        let admitted = match &known {
            // A flood of refusals must not become a flood of questions to Redis.
            Some(_) => self.users.admit_here(user),
            None => self.users.admit(user).await,
        };
        if let Err(refusal) = admitted {
            metrics::rate_limited();
            return Err(refusal);
        }
        Ok(known.map(|known| known.refuse()))
    }

    /// A lane has found the product sold out.
    pub fn suspect(&self, product: ProductId) {
        self.sold_out.suspect(product);
    }

    /// Forgets users who are far from their limit, until the service stops.
    pub async fn tidy(&self, tasks: &Tasks) {
        while tasks.pause(rate_limit::FORGET_EVERY).await {
            self.users.forget_idle();
        }
    }
}
