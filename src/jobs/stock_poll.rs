//! Looks at the stock of what is sold: for the gauges, and for watchers whom Redis did not tell.

use std::{collections::HashMap, time::Duration};

use crate::{
    domain::ProductId,
    events::{Events, Stock},
    metrics,
    store::{Error, Store},
    tasks::Tasks,
};

/// A watcher is at most this much behind while Redis is away.
const EVERY: Duration = Duration::from_secs(1);

/// The newest products, whose gauges are kept fresh.
const PRODUCTS: u64 = 200;

#[derive(Debug)]
pub struct StockPoll {
    store: Store,
    events: Events,
    gauges: HashMap<ProductId, metrics::Product>,
}

impl StockPoll {
    pub fn new(store: Store, events: Events) -> Self {
        Self {
            store,
            events,
            gauges: HashMap::new(),
        }
    }

    pub async fn run(mut self, tasks: Tasks) {
        loop {
            if let Err(error) = self.run_once().await {
                tracing::debug!(%error, "cannot look at the stock: {error}");
            }
            if !tasks.pause(EVERY).await {
                return;
            }
        }
    }

    pub async fn run_once(&mut self) -> Result<(), Error> {
        let (idle, used) = self.store.connections();
        metrics::db_pool(idle, used);
        self.store.read_clock().await?;
        let products = self.store.products(None, PRODUCTS).await?;
        for product in &products {
            self.gauges
                .entry(product.id)
                .or_insert_with(|| metrics::product(&product.sku))
                .stock
                .set(product.stock);
            self.events.seen(Stock::from(product));
        }
        for id in self.events.watched() {
            if products.iter().any(|product| product.id == id) {
                continue;
            }
            if let Some(product) = self.store.product(id).await? {
                self.events.seen(Stock::from(&product));
            }
        }
        self.gauges
            .retain(|id, _| products.iter().any(|product| product.id == *id));
        Ok(())
    }
}
