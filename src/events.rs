//! Stock changes on their way to watchers: at once on this node, through Redis on the others.
//!
//! A hint, never the truth: a watcher that misses one gets the next, and a poll of the database
//! ([`crate::jobs`]) covers for Redis while it is away. Versions only go up.
//!
//! The newest word on each product is kept for a moment, for those who hold what they read before:
//! the cache and the sold-out gate.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError, RwLock},
    time::{Duration, Instant},
};

use fred::{clients::SubscriberClient, interfaces::ClientLike};
use serde::{Deserialize, Serialize};
use tokio::sync::{mpsc, watch};

use crate::{
    domain::{Product, ProductId},
    metrics,
    redis::{
        Redis, STOCK_CHANNEL,
        channel::{self, Heard},
    },
    tasks::Tasks,
};

/// Changes that wait to be told to other nodes; the next ones are dropped, the poll covers.
const OUTBOX_MAX: usize = 1_024;
/// How long the newest word on a product is kept; nobody may hold what was read before that.
const NEWEST_KEPT: Duration = Duration::from_secs(5);

/// What a product has for sale, as of a version.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stock {
    pub product_id: ProductId,
    pub stock: i32,
    pub version: i64,
}

impl From<&Product> for Stock {
    fn from(product: &Product) -> Self {
        Self {
            product_id: product.id,
            stock: product.for_sale(),
            version: product.version,
        }
    }
}

/// The watchers of this node and the way to the others; clones share it.
#[derive(Clone, Debug)]
pub struct Events {
    watched: Arc<Mutex<HashMap<ProductId, watch::Sender<Option<Stock>>>>>,
    newest: Arc<RwLock<HashMap<ProductId, (Stock, Instant)>>>,
    outbox: Option<mpsc::Sender<Stock>>,
    hearing: Arc<Hearing>,
}

/// Whether the other nodes are heard.
#[derive(Debug)]
struct Hearing {
    subscriber: Option<SubscriberClient>,
    since: RwLock<Option<Instant>>,
}

impl Hearing {
    fn set(&self, since: Option<Instant>) {
        *self.since.write().unwrap_or_else(PoisonError::into_inner) = since;
    }
}

impl Events {
    /// With Redis, changes reach the other nodes too.
    pub fn new(redis: Option<&Redis>, tasks: &Tasks) -> Self {
        let mut events = Self {
            watched: Arc::default(),
            newest: Arc::default(),
            outbox: None,
            hearing: Arc::new(Hearing {
                subscriber: redis.map(|redis| redis.subscriber.clone()),
                // Without Redis there are no other nodes.
                since: RwLock::new(redis.is_none().then(Instant::now)),
            }),
        };
        if let Some(redis) = redis {
            let (outbox, inbox) = mpsc::channel(OUTBOX_MAX);
            events.outbox = Some(outbox);
            let commands = redis.commands.clone();
            let publisher = channel::publish(commands, STOCK_CHANNEL, inbox, tasks.clone());
            tasks.spawn("stock publisher", publisher);
            let (subscriber, heard) = (redis.subscriber.clone(), events.clone());
            let hear = move |word| heard.hear(&word);
            let listener = channel::listen(subscriber, STOCK_CHANNEL, hear, tasks.clone());
            tasks.spawn("stock listener", listener);
        }
        events
    }

    fn hear(&self, heard: &Heard<Stock>) {
        match heard {
            Heard::Connected => self.hearing.set(Some(Instant::now())),
            Heard::Word(stock) => self.seen(*stock),
            Heard::Lost => self.hearing.set(None),
        }
    }

    /// Tells watchers here and on other nodes.
    pub fn changed(&self, stock: Stock) {
        self.seen(stock);
        if let Some(outbox) = &self.outbox
            && outbox.try_send(stock).is_err()
        {
            metrics::event_dropped();
        }
    }

    /// Tells watchers on this node, unless they know something newer.
    pub fn seen(&self, stock: Stock) {
        self.remember(stock);
        let watched = self.watched.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(sender) = watched.get(&stock.product_id) {
            sender.send_if_modified(|known| {
                let newer = known.is_none_or(|known| known.version < stock.version);
                if newer {
                    *known = Some(stock);
                }
                newer
            });
        }
    }

    fn remember(&self, stock: Stock) {
        let mut newest = self.newest.write().unwrap_or_else(PoisonError::into_inner);
        let known = newest
            .entry(stock.product_id)
            .or_insert((stock, Instant::now()));
        if known.0.version < stock.version {
            *known = (stock, Instant::now());
        }
    }

    /// The newest that was heard of a product, if that was a moment ago.
    pub fn newest(&self, product: ProductId) -> Option<Stock> {
        let newest = self.newest.read().unwrap_or_else(PoisonError::into_inner);
        newest.get(&product).map(|(stock, _)| *stock)
    }

    /// Since when the commits of all nodes are heard without a gap; None while they are not.
    pub fn heard_since(&self) -> Option<Instant> {
        let connected = |redis: &SubscriberClient| redis.is_connected();
        if !self.hearing.subscriber.as_ref().is_none_or(connected) {
            return None;
        }
        let since = self.hearing.since.read();
        *since.unwrap_or_else(PoisonError::into_inner)
    }

    /// Watches a product from now on.
    pub fn watch(&self, product: ProductId) -> watch::Receiver<Option<Stock>> {
        let mut watched = self.watched.lock().unwrap_or_else(PoisonError::into_inner);
        watched
            .entry(product)
            .or_insert_with(|| watch::channel(None).0)
            .subscribe()
    }

    /// The products that somebody watches here; forgets the others, and words that are old.
    pub fn watched(&self) -> Vec<ProductId> {
        let mut newest = self.newest.write().unwrap_or_else(PoisonError::into_inner);
        newest.retain(|_, (_, heard)| heard.elapsed() < NEWEST_KEPT);
        drop(newest);
        let mut watched = self.watched.lock().unwrap_or_else(PoisonError::into_inner);
        watched.retain(|_, sender| sender.receiver_count() > 0);
        watched.keys().copied().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn watchers_never_see_an_older_version() {
        let events = Events::new(None, &Tasks::default());
        let product_id = ProductId::now_v7();
        let mut watcher = events.watch(product_id);
        let level = |stock, version| Stock {
            product_id,
            stock,
            version,
        };
        events.changed(level(5, 2));
        events.changed(level(9, 1));
        assert_eq!(*watcher.borrow_and_update(), Some(level(5, 2)));
        drop(watcher);
        assert!(events.watched().is_empty());
    }
}
