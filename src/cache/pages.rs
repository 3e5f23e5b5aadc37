//! In-memory cache of the product list: rendered pages, ready to send.

use std::{
    future::Future,
    sync::Arc,
    time::{Duration, Instant},
};

use bytes::Bytes;
use moka::future;

use super::Error;
use crate::{domain::ProductId, metrics};

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

    /// The page in memory; else the result of `load`, which concurrent callers share.
    pub(super) async fn get(
        &self,
        key: Key,
        load: impl Future<Output = Result<Bytes, Error>>,
    ) -> Result<Bytes, Arc<Error>> {
        match self.pages.get(&key).await {
            Some(page) if page.read_at.elapsed() < self.ttl => {
                metrics::cache::hit();
                return Ok(page.body.clone());
            }
            Some(_) => self.pages.invalidate(&key).await,
            None => {}
        }
        let read_at = Instant::now();
        let load = async {
            let body = load.await?;
            Ok(Arc::new(Page { body, read_at }))
        };
        let page = Box::pin(self.pages.try_get_with(key, load)).await?;
        Ok(page.body.clone())
    }
}
