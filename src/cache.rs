//! What shoppers read: products in memory for a moment, in front of Redis, in front of the
//! database. Nothing that is sold rests on it.
//!
//! No answer is older than a second, whatever is lost: memory holds a value for a quarter of one,
//! Redis for half of one, both from before it was read. The stock events make it much fresher: a
//! version that was heard of replaces every older one. Whoever misses first reads for all.

use std::{
    sync::{
        Arc, OnceLock,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use bytes::Bytes;
use moka::future;

use crate::{
    domain::{Product, ProductId},
    events::Events,
    metrics,
    redis::Redis,
    store::{self, Store},
    tasks::Tasks,
};

mod pages;
mod shared;

/// How long a value in memory is shown, from just before it was read.
const YOUNG: Duration = Duration::from_millis(250);
/// Products in memory, a few kilobytes each.
const PRODUCTS_MAX: u64 = 10_000;
/// The newest products, which are in memory when the first shopper comes.
const WARM: u64 = 200;
/// Loads that turn out to be outdated by a write before the database is asked directly.
const TRIES: usize = 3;

/// Why a product cannot be shown.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("there is no such product")]
    Absent,
    #[error("cannot read the product")]
    Store(#[source] store::Error),
}

/// A product as it was read, and the answers that were made of it.
#[derive(Debug)]
pub struct Shown {
    pub product: Product,
    asked: Instant,
    document: OnceLock<Bytes>,
    availability: OnceLock<Bytes>,
}

impl Shown {
    fn new(product: Product, asked: Instant) -> Arc<Self> {
        Arc::new(Self {
            product,
            asked,
            document: OnceLock::new(),
            availability: OnceLock::new(),
        })
    }

    /// The product's document; made once.
    pub fn document(&self, make: impl FnOnce(&Product) -> Bytes) -> Bytes {
        self.document.get_or_init(|| make(&self.product)).clone()
    }

    /// The answer to who asks how much is left; made once.
    pub fn availability(&self, make: impl FnOnce(&Product) -> Bytes) -> Bytes {
        self.availability
            .get_or_init(|| make(&self.product))
            .clone()
    }

    fn is_young(&self) -> bool {
        self.asked.elapsed() < YOUNG
    }

    fn is_current(&self, version: i64) -> bool {
        self.is_young() && self.product.version >= version
    }
}

#[derive(Debug)]
pub struct Cache {
    products: future::Cache<ProductId, Arc<Shown>>,
    /// The version that a write of this node's shop left, for as long as memory may be older.
    written: moka::sync::Cache<ProductId, i64>,
    pages: pages::Pages,
    /// Counts this node's writes of products.
    writes: AtomicU64,
    store: Store,
    events: Events,
    redis: Option<Redis>,
    tasks: Tasks,
}

impl Cache {
    fn new((store, events): (Store, Events), redis: Option<Redis>, tasks: Tasks) -> Self {
        let products = future::Cache::builder()
            .max_capacity(PRODUCTS_MAX)
            .time_to_live(YOUNG);
        let written = moka::sync::Cache::builder()
            .max_capacity(PRODUCTS_MAX)
            .time_to_live(YOUNG * 8);
        Self {
            products: products.build(),
            written: written.build(),
            pages: pages::Pages::new(YOUNG),
            writes: AtomicU64::new(0),
            store,
            events,
            redis,
            tasks,
        }
    }

    /// A cache with the newest products in memory, before anybody asks.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn warmed(
        store: &Store,
        events: &Events,
        redis: Option<&Redis>,
        tasks: &Tasks,
    ) -> Result<Self, store::Error> {
        let parts = (store.clone(), events.clone());
        let cache = Self::new(parts, redis.cloned(), tasks.clone());
        let asked = Instant::now();
        for product in store.products(None, WARM).await? {
            let id = product.id;
            cache.products.insert(id, Shown::new(product, asked)).await;
        }
        Ok(cache)
    }

    /// The shop has written a product on this node: whoever is answered from now on sees it.
    pub fn written(&self, product: &Product) {
        self.written.insert(product.id, product.version);
        self.writes.fetch_add(1, Ordering::Relaxed);
    }

    /// A product, as new as every commit that this node has heard of.
    pub async fn product(&self, id: ProductId) -> Result<Arc<Shown>, Arc<Error>> {
        let newest = self.events.newest(id).map_or(0, |stock| stock.version);
        self.find(id, newest.max(self.written.get(&id).unwrap_or(0)))
            .await
    }

    /// A product and its stock. Sales change nothing else of it, so a newer level that was heard
    /// of takes the place of a read: a drop's hottest question never waits for the database.
    pub async fn stock(&self, id: ProductId) -> Result<(Arc<Shown>, i32), Arc<Error>> {
        let shown = match self.products.get(&id).await {
            Some(shown) if shown.is_young() && self.has_terms(&shown) => {
                metrics::cache::hit();
                shown
            }
            Some(_) | None => self.product(id).await?,
        };
        let newest = self.events.newest(id);
        let newer = newest.filter(|newest| newest.version > shown.product.version);
        let stock = newer.map_or(shown.product.stock, |newest| newest.stock);
        Ok((shown, stock))
    }

    /// A page of products, newest first from below `before`, as `make` shows it.
    pub async fn page(
        &self,
        before: Option<ProductId>,
        limit: u64,
        make: impl FnOnce(Vec<Product>) -> Bytes,
    ) -> Result<Bytes, Arc<Error>> {
        // What was cached before a write of this node's shop is not looked for after it.
        let writes = self.writes.load(Ordering::Relaxed);
        let load = async {
            metrics::cache::miss();
            let products = self.store.products(before, limit).await;
            products.map(make).map_err(Error::Store)
        };
        self.pages.get((writes, before, limit), load).await
    }

    /// Whether the shop has not changed the product here since.
    fn has_terms(&self, shown: &Shown) -> bool {
        let written = self.written.get(&shown.product.id);
        written.is_none_or(|version| version <= shown.product.version)
    }

    /// The product at this version or above.
    async fn find(&self, id: ProductId, version: i64) -> Result<Arc<Shown>, Arc<Error>> {
        match self.products.get(&id).await {
            Some(shown) if shown.is_current(version) => {
                metrics::cache::hit();
                Ok(shown)
            }
            outdated => self.fetch(id, version, outdated).await,
        }
    }

    /// Reads the product, one reader for all who wait.
    async fn fetch(
        &self,
        id: ProductId,
        version: i64,
        mut outdated: Option<Arc<Shown>>,
    ) -> Result<Arc<Shown>, Arc<Error>> {
        let arrived = Instant::now();
        for _ in 0..TRIES {
            if outdated.is_some() {
                self.products.invalidate(&id).await;
            }
            let mut leads = false;
            let load = async {
                leads = true;
                self.load(id, version).await
            };
            // Boxed, so that answers from memory do not carry a read's weight.
            let shown = Box::pin(self.products.try_get_with(id, load)).await?;
            if !leads {
                metrics::cache::hit();
            }
            // Somebody else's read may have begun before the write that this caller knows of.
            if shown.is_current(version) || shown.asked >= arrived {
                return Ok(shown);
            }
            outdated = Some(shown);
        }
        self.read(id).await.map_err(Arc::new)
    }

    async fn load(&self, id: ProductId, version: i64) -> Result<Arc<Shown>, Error> {
        let asked = Instant::now();
        let Some(redis) = &self.redis else {
            return self.read(id).await;
        };
        let answer = shared::read(redis, id).await;
        match answer {
            Some(shared::Answer {
                product: Some(product),
                ..
            }) if product.version >= version => {
                metrics::cache::hit();
                Ok(Shown::new(product, asked))
            }
            answer => {
                let shown = self.read(id).await?;
                if let Some(answer) = answer {
                    let fill = shared::fill(redis.clone(), shown.product.clone(), answer);
                    self.tasks.spawn("cache fill", fill);
                }
                Ok(shown)
            }
        }
    }

    async fn read(&self, id: ProductId) -> Result<Arc<Shown>, Error> {
        metrics::cache::miss();
        let asked = Instant::now();
        let product = self.store.product(id).await.map_err(Error::Store)?;
        product
            .map(|product| Shown::new(product, asked))
            .ok_or(Error::Absent)
    }
}
