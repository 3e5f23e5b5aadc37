//! Ends holds: sleeps until the next one is over, and has its product's lane give the units back.
//! Also has those served who wait although they need not, because a node died over it, or because
//! the product lets them pass from now on.
//!
//! Every node does so, and the lane's decision rests on what is true then: whoever comes second
//! finds nothing to do.

use std::time::{Duration, Instant};

use chrono::{DateTime, Utc};
use futures::{StreamExt, stream};

use crate::{
    domain::ProductId,
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
        let mut products = self.store.neglected_products().await?;
        if next.is_some_and(|next| next <= now) {
            products.extend(self.store.products_with_due_orders(now).await?);
        }
        if products.is_empty() || self.tend(products).await > 0 {
            return Ok(next);
        }
        let next = self.store.next_expiry().await?;
        self.sequencer.deadlines().looked(next);
        Ok(next)
    }

    /// Has the products tended to; says how many could not be.
    async fn tend(&self, mut products: Vec<ProductId>) -> usize {
        products.sort_unstable();
        products.dedup();
        let tended = products
            .into_iter()
            .map(|product| self.sequencer.tend(product, Instant::now()));
        stream::iter(tended)
            .buffer_unordered(PRODUCTS_AT_ONCE)
            .filter(|tended| std::future::ready(tended.is_err()))
            .count()
            .await
    }
}
