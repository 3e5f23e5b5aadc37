//! Stock events: publish/subscribe of stock changes, in process and through Redis to other nodes.
//!
//! Events are hints. A subscriber that misses one gets the next, and a poll of the database
//! ([`crate::jobs`]) replaces Redis while it is unreachable. Versions only increase.
//!
//! The newest event of each product is kept for a few seconds, so that the cache and the sold-out
//! gate can detect a stale row.

use std::{
    collections::HashMap,
    sync::Arc,
    time::{Duration, Instant},
};

use fred::{clients::SubscriberClient, interfaces::ClientLike};
use parking_lot::{Mutex, RwLock};
use serde::{Deserialize, Serialize};
use tokio::sync::{mpsc, watch};

use crate::{
    domain::{Product, ProductId},
    metrics,
    redis::{
        Redis, STOCK_CHANNEL,
        channel::{self, ChannelEvent},
    },
    tasks::Tasks,
};

/// Events waiting to be published to other nodes; further ones are dropped, and the poll delivers
/// their state.
const OUTBOX_MAX: usize = 1_024;
/// How long the newest event of a product is kept; no reader holds an older row.
const NEWEST_KEPT: Duration = Duration::from_secs(5);

/// The units for sale of a product, as of a version.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StockEvent {
    pub product_id: ProductId,
    #[serde(rename = "stock")]
    pub for_sale: i32,
    pub version: i64,
    /// Whether only admins see the product.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub hidden: bool,
}

impl From<&Product> for StockEvent {
    fn from(product: &Product) -> Self {
        Self {
            product_id: product.id,
            for_sale: product.for_sale(),
            version: product.version,
            hidden: !product.is_public(),
        }
    }
}

/// The subscribers of this node and the channel to the others; clones share it.
#[derive(Clone, Debug)]
pub struct StockEvents {
    watched: Arc<Mutex<HashMap<ProductId, watch::Sender<Option<StockEvent>>>>>,
    newest: Arc<RwLock<HashMap<ProductId, (StockEvent, Instant)>>>,
    outbox: Option<mpsc::Sender<StockEvent>>,
    subscription: Arc<Subscription>,
}

/// Whether the events of other nodes arrive.
#[derive(Debug)]
struct Subscription {
    subscriber: Option<SubscriberClient>,
    connected_since: RwLock<Option<Instant>>,
}

impl StockEvents {
    /// With Redis, events reach the other nodes too.
    pub fn new(redis: Option<&Redis>, tasks: &Tasks) -> Self {
        let mut events = Self {
            watched: Arc::default(),
            newest: Arc::default(),
            outbox: None,
            subscription: Arc::new(Subscription {
                subscriber: redis.map(|redis| redis.subscriber.clone()),
                // Without Redis there are no other nodes.
                connected_since: RwLock::new(redis.is_none().then(Instant::now)),
            }),
        };
        if let Some(redis) = redis {
            let (outbox, inbox) = mpsc::channel(OUTBOX_MAX);
            events.outbox = Some(outbox);
            let commands = redis.commands.clone();
            let publisher = channel::publish(
                commands,
                STOCK_CHANNEL,
                inbox,
                newest_of_each,
                tasks.clone(),
            );
            tasks.spawn("stock publisher", publisher);
            let (subscriber, receiver) = (redis.subscriber.clone(), events.clone());
            let handle = move |event| receiver.receive(&event);
            let listener = channel::listen(subscriber, STOCK_CHANNEL, handle, tasks.clone());
            tasks.spawn("stock listener", listener);
        }
        events
    }

    fn receive(&self, event: &ChannelEvent<StockEvent>) {
        match event {
            ChannelEvent::Connected => {
                *self.subscription.connected_since.write() = Some(Instant::now());
            }
            ChannelEvent::Message(event) => self.notify_local(*event),
            ChannelEvent::Lost => *self.subscription.connected_since.write() = None,
        }
    }

    /// Notifies the subscribers here and on other nodes.
    pub fn publish(&self, event: StockEvent) {
        self.notify_local(event);
        if let Some(outbox) = &self.outbox
            && outbox.try_send(event).is_err()
        {
            metrics::event_dropped();
        }
    }

    /// Notifies the subscribers of this node, unless they have a newer version.
    pub fn notify_local(&self, event: StockEvent) {
        self.keep_newest(event);
        if let Some(sender) = self.watched.lock().get(&event.product_id) {
            sender.send_if_modified(|last| {
                let newer = last.is_none_or(|last| last.version < event.version);
                if newer {
                    *last = Some(event);
                }
                newer
            });
        }
    }

    fn keep_newest(&self, event: StockEvent) {
        let mut newest = self.newest.write();
        let kept = newest
            .entry(event.product_id)
            .or_insert((event, Instant::now()));
        if kept.0.version < event.version {
            *kept = (event, Instant::now());
        }
    }

    /// The newest event of a product within the last seconds.
    pub fn newest(&self, product: ProductId) -> Option<StockEvent> {
        self.newest.read().get(&product).map(|(event, _)| *event)
    }

    /// Whether the product has a newer event since `time`, of the last seconds.
    pub fn changed_since(&self, product: ProductId, time: Instant) -> bool {
        let newest = self.newest.read();
        let received = newest.get(&product).map(|(_, received)| *received);
        received.is_some_and(|received| received >= time)
    }

    /// Since when the events of all nodes arrive without a gap; `None` while they do not.
    pub fn connected_since(&self) -> Option<Instant> {
        let connected = |redis: &SubscriberClient| redis.is_connected();
        if !self.subscription.subscriber.as_ref().is_none_or(connected) {
            return None;
        }
        *self.subscription.connected_since.read()
    }

    /// Subscribes to a product from now on.
    pub fn watch(&self, product: ProductId) -> watch::Receiver<Option<StockEvent>> {
        let mut watched = self.watched.lock();
        watched
            .entry(product)
            .or_insert_with(|| watch::channel(None).0)
            .subscribe()
    }

    /// The products with subscribers on this node; drops the other products and old events.
    pub fn watched(&self) -> Vec<ProductId> {
        self.newest
            .write()
            .retain(|_, (_, received)| received.elapsed() < NEWEST_KEPT);
        let mut watched = self.watched.lock();
        watched.retain(|_, sender| sender.receiver_count() > 0);
        watched.keys().copied().collect()
    }
}

/// The newest event of each product: an older one tells nothing more.
fn newest_of_each(events: Vec<StockEvent>) -> Vec<StockEvent> {
    let mut newest: HashMap<ProductId, StockEvent> = HashMap::new();
    for event in events {
        let kept = newest.entry(event.product_id).or_insert(event);
        if kept.version < event.version {
            *kept = event;
        }
    }
    newest.into_values().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_event_of_each_product_is_published() {
        let products = [ProductId::now_v7(), ProductId::now_v7()];
        let event = |at: usize, version| StockEvent {
            product_id: products[at],
            for_sale: 5,
            version,
            hidden: false,
        };
        let waiting = vec![event(0, 1), event(1, 7), event(0, 3), event(0, 2)];
        let mut published = newest_of_each(waiting);
        published.sort_by_key(|event| event.version);
        assert_eq!(published, [event(0, 3), event(1, 7)]);
    }

    #[tokio::test]
    async fn watchers_never_see_an_older_version() {
        let events = StockEvents::new(None, &Tasks::default());
        let product_id = ProductId::now_v7();
        let mut watcher = events.watch(product_id);
        let event = |for_sale, version| StockEvent {
            product_id,
            for_sale,
            version,
            hidden: false,
        };
        events.publish(event(5, 2));
        events.publish(event(9, 1));
        assert_eq!(*watcher.borrow_and_update(), Some(event(5, 2)));
        drop(watcher);
        assert!(events.watched().is_empty());
    }
}
