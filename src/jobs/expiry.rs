//! Expiry job: sleeps until the next hold expires, then sends a command to its product's lane.
//!
//! It also sends commands for products whose waitlist can be served without a returned unit: after
//! a node died in between, or after `waitlist_skip` was set. The job runs on every node; the lane
//! decides on current rows, so a second command changes nothing.

use std::time::{Duration, Instant};

use chrono::{DateTime, Utc};
use futures::{StreamExt, stream};

use crate::{
    domain::ProductId,
    sequencer::Sequencer,
    store::{Error, Store},
    tasks::Tasks,
};

/// The longest sleep, after which the holds of a node that died are found.
const POLL_EVERY: Duration = Duration::from_secs(1);
/// Pause after a failed query or an unfinished command.
const AFTER_FAILURE: Duration = Duration::from_millis(200);
/// Products with expired holds that are served concurrently.
const PRODUCTS_AT_ONCE: usize = 16;

#[derive(Debug)]
pub struct Expiry {
    store: Store,
    sequencer: Sequencer,
}

impl Expiry {
    pub fn new(store: Store, sequencer: Sequencer) -> Self {
        Self { store, sequencer }
    }

    pub async fn run(self, tasks: Tasks) {
        let mut earlier = self.sequencer.deadlines().watch();
        loop {
            earlier.mark_unchanged();
            let pause = match self.run_once(self.store.now()).await {
                Ok(next) => self.until(next),
                Err(error) => {
                    tracing::debug!(%error, "cannot expire holds: {error}");
                    AFTER_FAILURE
                }
            };
            tokio::select! {
                running = tasks.pause(pause) => if !running { return },
                // A lane made a hold that expires earlier.
                _ = earlier.changed() => {}
            }
        }
    }

    fn until(&self, next: Option<DateTime<Utc>>) -> Duration {
        let left = next.map(|next| next - self.store.now());
        left.map_or(POLL_EVERY, |left| {
            left.to_std().unwrap_or(AFTER_FAILURE).min(POLL_EVERY)
        })
    }

    /// Expires the holds that are due at `now`; returns the next expiry.
    pub async fn run_once(&self, now: DateTime<Utc>) -> Result<Option<DateTime<Utc>>, Error> {
        let next = self.store.next_expiry().await?;
        self.sequencer.deadlines().set(next);
        let mut products = self.store.products_with_serviceable_entries().await?;
        if next.is_some_and(|next| next <= now) {
            products.extend(self.store.products_with_expired_holds(now).await?);
        }
        if products.is_empty() || self.expire_holds(products).await > 0 {
            return Ok(next);
        }
        let next = self.store.next_expiry().await?;
        self.sequencer.deadlines().set(next);
        Ok(next)
    }

    /// Sends the command for each product; returns the number of failures.
    async fn expire_holds(&self, mut products: Vec<ProductId>) -> usize {
        products.sort_unstable();
        products.dedup();
        let expired = products
            .into_iter()
            .map(|product| self.sequencer.expire_holds(product, Instant::now()));
        stream::iter(expired)
            .buffer_unordered(PRODUCTS_AT_ONCE)
            .filter(|result| std::future::ready(result.is_err()))
            .count()
            .await
    }
}
