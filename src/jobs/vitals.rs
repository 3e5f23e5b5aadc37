//! Vitals job: exports whether the instance can take orders, and how full its pools and lanes are.
//!
//! It asks each second, so that alerts need neither the probes of a load balancer nor a scrape that
//! waits for the database.

use std::time::Duration;

use crate::{
    metrics::{database, instance},
    redis::Redis,
    sequencer::Sequencer,
    store::{Condition, Store},
    tasks::Tasks,
};

const EVERY: Duration = Duration::from_secs(1);

#[derive(Debug)]
pub struct Vitals {
    pub store: Store,
    pub sequencer: Sequencer,
    pub redis: Option<Redis>,
}

impl Vitals {
    pub async fn run(self, tasks: Tasks) {
        self.count_migrations().await;
        loop {
            self.run_once(&tasks).await;
            if !tasks.pause(EVERY).await {
                return;
            }
        }
    }

    async fn run_once(&self, tasks: &Tasks) {
        for pool in self.store.pools() {
            database::pool(pool);
        }
        instance::longest_queue(self.sequencer.longest_queue());
        let (takes_orders, ()) = tokio::join!(self.store.condition(), self.check_redis());
        let takes_orders = takes_orders == Condition::TakesWrites;
        instance::ready(takes_orders && !tasks.are_draining());
    }

    async fn check_redis(&self) {
        if let Some(redis) = &self.redis {
            instance::redis_up(redis.answers().await);
        }
    }

    /// Once: only an operator or a node of another version changes the schema later.
    async fn count_migrations(&self) {
        match self.store.migrations().await {
            Ok(found) => instance::migrations(found.known, found.missing, found.newer),
            Err(error) => tracing::warn!("cannot count the migrations: {}", error.chain()),
        }
    }
}
