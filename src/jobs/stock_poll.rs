//! Stock poll job: refreshes the stock gauges, and notifies subscribers that missed a stock event.

use std::{collections::HashMap, time::Duration};

use crate::{
    domain::ProductId,
    metrics,
    stock_events::{StockEvent, StockEvents},
    store::{Error, Listing, Store},
    tasks::Tasks,
};

/// Bounds the staleness of subscribers while Redis is unreachable.
const EVERY: Duration = Duration::from_secs(1);

/// The newest products, whose gauges are refreshed.
const PRODUCTS: u64 = 200;

#[derive(Debug)]
pub struct StockPoll {
    store: Store,
    events: StockEvents,
    gauges: HashMap<ProductId, metrics::ProductMetrics>,
}

impl StockPoll {
    pub fn new(store: Store, events: StockEvents) -> Self {
        Self {
            store,
            events,
            gauges: HashMap::new(),
        }
    }

    pub async fn run(mut self, tasks: Tasks) {
        loop {
            if let Err(error) = self.run_once().await {
                tracing::debug!(%error, "cannot read the stock: {error}");
            }
            if !tasks.pause(EVERY).await {
                return;
            }
        }
    }

    pub async fn run_once(&mut self) -> Result<(), Error> {
        self.store.read_clock().await?;
        let products = self.store.products(Listing::All, None, PRODUCTS).await?;
        for product in &products {
            self.gauges
                .entry(product.id)
                .or_insert_with(|| metrics::product(&product.sku))
                .stock
                .set(product.stock.on_hand);
            self.events.notify_local(StockEvent::from(product));
        }
        for id in self.events.watched() {
            if products.iter().any(|product| product.id == id) {
                continue;
            }
            if let Some(product) = self.store.product(id).await? {
                self.events.notify_local(StockEvent::from(&product));
            }
        }
        self.gauges
            .retain(|id, _| products.iter().any(|product| product.id == *id));
        Ok(())
    }
}
