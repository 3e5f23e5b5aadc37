//! Pages of the list of products, as they are sent.

use std::{
    future::Future,
    sync::Arc,
    time::{Duration, Instant},
};

use bytes::Bytes;
use moka::future;

use super::Error;
use crate::{domain::ProductId, metrics};

/// Pages in memory: a page of a hundred products is some fifty kilobytes.
const PAGES_MAX: u64 = 500;

/// After so many writes of this node, below this product, so many products.
pub(super) type Key = (u64, Option<ProductId>, u64);

#[derive(Debug)]
struct Page {
    body: Bytes,
    asked: Instant,
}

#[derive(Debug)]
pub(super) struct Pages {
    pages: future::Cache<Key, Arc<Page>>,
    young: Duration,
}

impl Pages {
    pub(super) fn new(young: Duration) -> Self {
        let pages = future::Cache::builder()
            .max_capacity(PAGES_MAX)
            .time_to_live(young)
            .build();
        Self { pages, young }
    }

    /// The page in memory; else what `load` makes, for everybody who waits for it.
    pub(super) async fn get(
        &self,
        key: Key,
        load: impl Future<Output = Result<Bytes, Error>>,
    ) -> Result<Bytes, Arc<Error>> {
        match self.pages.get(&key).await {
            Some(page) if page.asked.elapsed() < self.young => {
                metrics::cache::hit();
                return Ok(page.body.clone());
            }
            Some(_) => self.pages.invalidate(&key).await,
            None => {}
        }
        let asked = Instant::now();
        let load = async {
            let body = load.await?;
            Ok(Arc::new(Page { body, asked }))
        };
        let page = Box::pin(self.pages.try_get_with(key, load)).await?;
        Ok(page.body.clone())
    }
}
