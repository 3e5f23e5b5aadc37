//! A Redlock per order: every request tries once to take the product's lock itself, and is
//! refused with `high_demand` if the lock is busy.
//!
//! It uses the service's own lock and store, with the same pools and statements. Only the design
//! differs: no request waits in a lane, and each lock and transaction serves one order.

use std::time::Duration;

use anyhow::Context;
use flash_sale::{
    domain::{Product, Secret},
    lock::{Attempt, Lock},
    store::{NewOrder, NewOrders, StockChange, Store},
    tasks::Tasks,
};

use super::{
    command::{OrderCommand, OrderReply, order},
    pool::store,
};

/// The service's own default.
const LOCK_TTL: Duration = Duration::from_secs(2);

#[derive(Debug)]
pub(super) struct Naive {
    store: Store,
    lock: Lock,
}

impl Naive {
    pub(super) async fn open(
        url: &str,
        connections: u32,
        nodes: &[Secret],
        tasks: &Tasks,
    ) -> anyhow::Result<Self> {
        anyhow::ensure!(
            !nodes.is_empty(),
            "the naive design needs --redis-lock-urls"
        );
        Ok(Self {
            store: store(url, connections).await?,
            lock: Lock::redlock(nodes, LOCK_TTL, tasks).context("cannot use the lock nodes")?,
        })
    }

    pub(super) async fn place(&self, command: OrderCommand) -> anyhow::Result<OrderReply> {
        let product = self.store.product(command.product_id).await?;
        let Some(product) = product.filter(|product| product.stock.on_hand >= command.quantity)
        else {
            return Ok(OrderReply::SoldOut);
        };
        let level = product.stock.on_hand;
        match self.lock.try_acquire(product.id, level).await {
            Attempt::Acquired(guard) => {
                let written = self.write(command, product).await;
                guard.release().await;
                written
            }
            Attempt::Busy | Attempt::NoQuorum | Attempt::Failed => Ok(OrderReply::HighDemand),
        }
    }

    async fn write(&self, command: OrderCommand, product: Product) -> anyhow::Result<OrderReply> {
        let quantity = command.quantity;
        let order = order(command, product.price, product.currency.clone());
        let transaction = self.store.begin().await?;
        let mut stock = product.stock;
        stock.sell(quantity);
        let change = StockChange {
            before: &product,
            stock,
        };
        if !transaction.write_stock(change, order.created_at).await? {
            // The row changed between the read and the lock.
            return Ok(OrderReply::HighDemand);
        }
        let orders = NewOrders {
            orders: vec![NewOrder {
                order: order.clone(),
                key: None,
                from_waitlist: false,
            }],
        };
        transaction.insert_orders(&orders).await?;
        transaction.commit().await?;
        Ok(OrderReply::Created(Box::new(order)))
    }
}
