//! In-memory cache of the product list: rendered pages, ready to send.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use bytes::Bytes;
use moka::future;

use super::Error;
use crate::{domain::ProductId, metrics};

/// Shared loads that began too early; after them the caller loads the page itself.
const ATTEMPTS: usize = 3;
/// Pages in memory; a page of a hundred products has about fifty kilobytes.
const PAGES_MAX: u64 = 500;

/// The number of admins' writes on this node, the cursor, the page size.
pub(super) type Key = (u64, Option<ProductId>, u64);

#[derive(Debug)]
struct Page {
    body: Bytes,
    read_at: Instant,
}

#[derive(Debug)]
pub(super) struct Pages {
    pages: future::Cache<Key, Arc<Page>>,
    ttl: Duration,
}

impl Pages {
    pub(super) fn new(ttl: Duration) -> Self {
        let pages = future::Cache::builder()
            .max_capacity(PAGES_MAX)
            .time_to_live(ttl)
            .build();
        Self { pages, ttl }
    }

    /// The page in memory; else the result of `load`, which concurrent callers share. A load that
    /// began before a caller came, and took so long that its page is too old, is not shared with it.
    pub(super) async fn get<L>(&self, key: Key, load: impl Fn() -> L) -> Result<Bytes, Arc<Error>>
    where
        L: Future<Output = Result<Bytes, Error>>,
    {
        let arrived = Instant::now();
        match self.pages.get(&key).await {
            Some(page) if page.read_at.elapsed() < self.ttl => {
                metrics::cache::hit();
                return Ok(page.body.clone());
            }
            Some(_) => self.pages.invalidate(&key).await,
            None => {}
        }
        for _ in 0..ATTEMPTS {
            let shared = async {
                let read_at = Instant::now();
                let body = load().await?;
                Ok(Arc::new(Page { body, read_at }))
            };
            let page = Box::pin(self.pages.try_get_with(key, shared)).await?;
            if page.read_at >= arrived || page.read_at.elapsed() < self.ttl {
                return Ok(page.body.clone());
            }
            self.pages.invalidate(&key).await;
        }
        load().await.map_err(Arc::new)
    }
}

#[cfg(test)]
mod tests {
    use tokio::sync::Notify;

    use super::*;

    const KEY: Key = (0, None, 1);

    /// The second caller comes while a load is under way that began before.
    async fn second_of_two(ttl: Duration) -> Bytes {
        let pages = Pages::new(ttl);
        let (begun, goes_on) = (&Notify::new(), &Notify::new());
        let first = pages.get(KEY, move || async move {
            begun.notify_one();
            goes_on.notified().await;
            Ok(Bytes::from_static(b"before"))
        });
        let second = async {
            begun.notified().await;
            let second = pages.get(KEY, || async { Ok(Bytes::from_static(b"after")) });
            let first_ends = async { goes_on.notify_one() };
            // Polled in this order, so that the second caller comes before the first load ends.
            tokio::join!(biased; second, first_ends).0
        };
        let (first, second) = tokio::join!(first, second);
        assert_eq!(first.unwrap(), "before");
        second.unwrap()
    }

    #[tokio::test]
    async fn a_caller_shares_no_load_that_began_before_it_came_and_is_too_old() {
        assert_eq!(second_of_two(Duration::from_nanos(1)).await, "after");
    }

    #[tokio::test]
    async fn a_caller_shares_a_load_that_is_fresh() {
        assert_eq!(second_of_two(Duration::from_mins(1)).await, "before");
    }
}
