//! Read cache for products: memory, then Redis, then the database. Orders do not use it.
//!
//! No answer is older than a second, even when events are lost: memory holds a value for 250 ms
//! and Redis for 500 ms, both counted from before it was read. Stock events shorten this: a newer
//! version replaces every older one. Concurrent misses share one read.

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
    metrics,
    redis::Redis,
    stock_events::StockEvents,
    store::{self, Listing, Store},
    tasks::Tasks,
};

mod pages;
mod redis;

/// How long a value in memory is served, from just before it was read.
const TTL: Duration = Duration::from_millis(250);
/// Products in memory, a few kilobytes each.
const PRODUCTS_MAX: u64 = 10_000;
/// The newest products, which are loaded before the service accepts requests.
const WARM: u64 = 200;
/// Shared loads with a stale result; after them the caller reads the database itself.
const ATTEMPTS: usize = 3;

/// Why a product cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("there is no such product")]
    Absent,
    #[error("cannot read the product")]
    Store(#[source] store::Error),
}

/// A product as it was read, and the response bodies rendered from it.
#[derive(Debug)]
pub struct CachedProduct {
    pub product: Product,
    read_at: Instant,
    document: OnceLock<Bytes>,
    availability: OnceLock<Bytes>,
}

impl CachedProduct {
    fn new(product: Product, read_at: Instant) -> Arc<Self> {
        Arc::new(Self {
            product,
            read_at,
            document: OnceLock::new(),
            availability: OnceLock::new(),
        })
    }

    /// The body of `GET /products/{id}`; rendered once.
    pub fn document(&self, make: impl FnOnce(&Product) -> Bytes) -> Bytes {
        self.document.get_or_init(|| make(&self.product)).clone()
    }

    /// The body of `GET /products/{id}/availability`; rendered once.
    pub fn availability(&self, make: impl FnOnce(&Product) -> Bytes) -> Bytes {
        self.availability
            .get_or_init(|| make(&self.product))
            .clone()
    }

    fn is_fresh(&self) -> bool {
        self.read_at.elapsed() < TTL
    }

    fn is_current(&self, version: i64) -> bool {
        self.is_fresh() && self.product.version >= version
    }
}

#[derive(Debug)]
pub struct Cache {
    products: future::Cache<ProductId, Arc<CachedProduct>>,
    /// The version after an admin's write on this node, kept for as long as memory may be older.
    written: moka::sync::Cache<ProductId, i64>,
    pages: pages::Pages,
    /// Counts the admins' writes of products on this node.
    writes: AtomicU64,
    source: Source,
    tasks: Tasks,
}

/// Where the cache reads products and receives newer versions.
#[derive(Clone, Debug)]
pub struct Source {
    pub store: Store,
    pub events: StockEvents,
    pub redis: Option<Redis>,
}

impl Cache {
    fn new(source: Source, tasks: Tasks) -> Self {
        let products = future::Cache::builder()
            .max_capacity(PRODUCTS_MAX)
            .time_to_live(TTL);
        let written = moka::sync::Cache::builder()
            .max_capacity(PRODUCTS_MAX)
            .time_to_live(TTL * 8);
        Self {
            products: products.build(),
            written: written.build(),
            pages: pages::Pages::new(TTL),
            writes: AtomicU64::new(0),
            source,
            tasks,
        }
    }

    /// A cache with the newest products in memory.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn warmed(source: Source, tasks: &Tasks) -> Result<Self, store::Error> {
        let cache = Self::new(source, tasks.clone());
        let read_at = Instant::now();
        let newest = cache.source.store.products(Listing::Public, None, WARM);
        for product in newest.await? {
            let id = product.id;
            cache
                .products
                .insert(id, CachedProduct::new(product, read_at))
                .await;
        }
        Ok(cache)
    }

    /// Records an admin's write on this node: later answers of this node include it.
    pub fn written(&self, product: &Product) {
        self.written.insert(product.id, product.version);
        self.writes.fetch_add(1, Ordering::Relaxed);
    }

    /// A public product, at least as new as the last stock event that this node received for it.
    pub async fn product(&self, id: ProductId) -> Result<Arc<CachedProduct>, Arc<Error>> {
        let newest = self
            .source
            .events
            .newest(id)
            .map_or(0, |event| event.version);
        let version = newest.max(self.written.get(&id).unwrap_or(0));
        // Hidden products stay cached, so that requests for them do not reach the database.
        let cached = self.find(id, version).await?;
        if !cached.product.is_public() {
            return Err(Arc::new(Error::Absent));
        }
        Ok(cached)
    }

    /// A product and its units for sale. Sales change nothing else of a product, so a newer stock
    /// event replaces a read: during a sale, availability never waits for the database.
    pub async fn for_sale(&self, id: ProductId) -> Result<(Arc<CachedProduct>, i32), Arc<Error>> {
        let cached = match self.products.get(&id).await {
            Some(cached)
                if cached.is_fresh()
                    && cached.product.is_public()
                    && self.has_current_terms(&cached) =>
            {
                metrics::cache::hit();
                cached
            }
            Some(_) | None => self.product(id).await?,
        };
        let newest = self.source.events.newest(id);
        let newer = newest.filter(|newest| newest.version > cached.product.version);
        if newer.is_some_and(|newer| newer.hidden) {
            return Err(Arc::new(Error::Absent));
        }
        let for_sale = newer.map_or(cached.product.for_sale(), |newest| newest.for_sale);
        Ok((cached, for_sale))
    }

    /// A page of public products, newest first from below `before`, rendered by `make`.
    pub async fn page(
        &self,
        before: Option<ProductId>,
        limit: u64,
        make: impl Fn(Vec<Product>) -> Bytes,
    ) -> Result<Bytes, Arc<Error>> {
        // The key changes with every write of an admin on this node.
        let writes = self.writes.load(Ordering::Relaxed);
        let (store, make) = (&self.source.store, &make);
        let load = move || async move {
            metrics::cache::miss();
            let products = store.products(Listing::Public, before, limit).await;
            products.map(make).map_err(Error::Store)
        };
        self.pages.get((writes, before, limit), load).await
    }

    /// Whether no admin has changed the product on this node since it was read.
    fn has_current_terms(&self, cached: &CachedProduct) -> bool {
        let written = self.written.get(&cached.product.id);
        written.is_none_or(|version| version <= cached.product.version)
    }

    /// The product at this version or above.
    async fn find(&self, id: ProductId, version: i64) -> Result<Arc<CachedProduct>, Arc<Error>> {
        match self.products.get(&id).await {
            Some(cached) if cached.is_current(version) => {
                metrics::cache::hit();
                Ok(cached)
            }
            outdated => self.fetch(id, version, outdated).await,
        }
    }

    /// Reads the product; concurrent callers share one read.
    async fn fetch(
        &self,
        id: ProductId,
        version: i64,
        mut outdated: Option<Arc<CachedProduct>>,
    ) -> Result<Arc<CachedProduct>, Arc<Error>> {
        let arrived = Instant::now();
        for _ in 0..ATTEMPTS {
            if outdated.is_some() {
                self.products.invalidate(&id).await;
            }
            let mut leads = false;
            let load = async {
                leads = true;
                self.load(id, version).await
            };
            // Boxed, so that the futures of cache hits stay small.
            let cached = Box::pin(self.products.try_get_with(id, load)).await?;
            if !leads {
                metrics::cache::hit();
            }
            // A shared read may have begun before the write that this caller has to see.
            if cached.is_current(version) || cached.read_at >= arrived {
                return Ok(cached);
            }
            outdated = Some(cached);
        }
        self.read(id).await.map_err(Arc::new)
    }

    async fn load(&self, id: ProductId, version: i64) -> Result<Arc<CachedProduct>, Error> {
        let read_at = Instant::now();
        let Some(redis) = &self.source.redis else {
            return self.read(id).await;
        };
        let answer = redis::read(redis, id).await;
        match answer {
            Some(redis::CacheRead {
                product: Some(product),
                ..
            }) if product.version >= version => {
                metrics::cache::hit();
                Ok(CachedProduct::new(product, read_at))
            }
            answer => {
                let cached = self.read(id).await?;
                if let Some(answer) = answer {
                    let fill = redis::fill(redis.clone(), cached.product.clone(), answer);
                    self.tasks.spawn("cache fill", fill);
                }
                Ok(cached)
            }
        }
    }

    async fn read(&self, id: ProductId) -> Result<Arc<CachedProduct>, Error> {
        metrics::cache::miss();
        let read_at = Instant::now();
        let product = self.source.store.product(id).await.map_err(Error::Store)?;
        product
            .map(|product| CachedProduct::new(product, read_at))
            .ok_or(Error::Absent)
    }
}
