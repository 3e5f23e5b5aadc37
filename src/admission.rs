//! May this request try at all? The gate before the lanes, which must stay cheap: it is passed
//! by every request of a flood.

use crate::{domain::UserId, tasks::Tasks};

mod rate_limit;

pub use rate_limit::RateLimited;

#[derive(Debug)]
pub struct Gate {
    users: rate_limit::Users,
}

impl Gate {
    pub fn new(rate_limit_per_minute: u32) -> Self {
        Self {
            users: rate_limit::Users::new(rate_limit_per_minute),
        }
    }

    /// # Errors
    /// [`RateLimited`] when this user sent too many requests to this node.
    pub fn admit(&self, user: &UserId) -> Result<(), RateLimited> {
        self.users.admit(user)
    }

    /// Forgets users who are far from their limit, until the service stops.
    pub async fn tidy(&self, tasks: &Tasks) {
        while tasks.pause(rate_limit::FORGET_EVERY).await {
            self.users.forget_idle();
        }
    }
}
