//! Ends holds: sleeps until the next one is over, and has its product's lane give the units back.
//!
//! Every node does so, and the lane's decision rests on what is true then: whoever comes second
//! finds nothing to do.

use std::time::{Duration, Instant};

use chrono::{DateTime, Utc};
use futures::{StreamExt, stream};

use crate::{
    sequencer::Sequencer,
    store::{Error, Store},
    tasks::Tasks,
};

/// A hold that another node made, and did not live to end, is noticed after this long.
const LOOK_AGAIN: Duration = Duration::from_secs(1);
/// The next look after the database could not be asked, or a lane was not done.
const AFTER_FAILURE: Duration = Duration::from_millis(200);
/// Products whose holds end at the same moment are tended to side by side, so many.
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
        let mut news = self.sequencer.deadlines().watch();
        loop {
            news.mark_unchanged();
            let pause = match self.run_once(self.store.now()).await {
                Ok(next) => self.until(next),
                Err(error) => {
                    tracing::debug!(%error, "cannot end holds: {error}");
                    AFTER_FAILURE
                }
            };
            tokio::select! {
                going_on = tasks.pause(pause) => if !going_on { return },
                // A hold that ends earlier than those we knew.
                _ = news.changed() => {}
            }
        }
    }

    fn until(&self, next: Option<DateTime<Utc>>) -> Duration {
        let left = next.map(|next| next - self.store.now());
        left.map_or(LOOK_AGAIN, |left| {
            left.to_std().unwrap_or(AFTER_FAILURE).min(LOOK_AGAIN)
        })
    }

    /// Ends what is over at `now`; says when the next hold ends.
    pub async fn run_once(&self, now: DateTime<Utc>) -> Result<Option<DateTime<Utc>>, Error> {
        let next = self.store.next_expiry().await?;
        self.sequencer.deadlines().looked(next);
        if next.is_none_or(|next| next > now) {
            return Ok(next);
        }
        let due = self.store.products_with_due_orders(now).await?;
        let tended = stream::iter(due).map(|product| self.sequencer.tend(product, Instant::now()));
        let failed = tended
            .buffer_unordered(PRODUCTS_AT_ONCE)
            .filter(|tended| std::future::ready(tended.is_err()))
            .count()
            .await;
        if failed > 0 {
            return Ok(next);
        }
        let next = self.store.next_expiry().await?;
        self.sequencer.deadlines().looked(next);
        Ok(next)
    }
}
