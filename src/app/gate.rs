//! Builds the gate of its parts.

use crate::{admission::Gate, config, events::Events, redis::Redis, store::Store, tasks::Tasks};

pub(super) fn build(
    config: &config::Serve,
    redis: Option<&Redis>,
    (store, events): (&Store, &Events),
    tasks: &Tasks,
) -> Gate {
    let parts = (store.clone(), events.clone());
    Gate::new(config.limits.rate_limit_per_minute, redis, parts, tasks)
}
