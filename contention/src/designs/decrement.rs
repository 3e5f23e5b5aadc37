//! The stock in Redis: a script decrements it, the order is answered, and a task writes it to the
//! database later, with others in one transaction.
//!
//! A 201 says that Redis has decremented a number in its memory. Orders that wait for the task are
//! lost with the process, and units with Redis.

use std::{
    mem,
    time::{Duration, Instant},
};

use anyhow::Context;
use flash_sale::{
    domain::{Order, Product, ProductId, Secret},
    store::{NewOrder, NewOrders, StockChange, Store},
};
use parking_lot::Mutex;
use redis::{Client, Script, aio::MultiplexedConnection};
use tokio::{sync::mpsc, task::JoinSet};

use super::{
    command::{OrderCommand, OrderReply, order},
    pool::store,
};

/// Orders that wait to be written.
const QUEUE: usize = 100_000;
/// Orders of one transaction.
const BATCH: usize = 500;
/// A product's price is read this seldom.
const PRICE_FOR: Duration = Duration::from_secs(1);

/// Takes units of a product; -1 if Redis does not know it.
const TAKE: &str = "local stock = redis.call('GET', KEYS[1]) \
    if not stock then return -1 end \
    if tonumber(stock) < tonumber(ARGV[1]) then return 0 end \
    redis.call('DECRBY', KEYS[1], ARGV[1]) return 1";

pub(super) struct Decrement {
    store: Store,
    redis: MultiplexedConnection,
    take: Script,
    product: Mutex<Option<(Instant, Product)>>,
    queue: Mutex<Option<mpsc::Sender<Order>>>,
    writer: Mutex<JoinSet<anyhow::Result<()>>>,
}

impl std::fmt::Debug for Decrement {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Decrement").finish_non_exhaustive()
    }
}

impl Decrement {
    pub(super) async fn open(
        url: &str,
        connections: u32,
        nodes: &[Secret],
    ) -> anyhow::Result<Self> {
        let node = nodes.first();
        let node = node.context("the decrement design needs --redis-lock-urls")?;
        let store = store(url, connections).await?;
        let client = Client::open(node.expose())?;
        let redis = client.get_multiplexed_async_connection().await?;
        let (queue, orders) = mpsc::channel(QUEUE);
        let mut writer = JoinSet::new();
        writer.spawn(write_all(store.clone(), orders));
        Ok(Self {
            store,
            redis,
            take: Script::new(TAKE),
            product: Mutex::new(None),
            queue: Mutex::new(Some(queue)),
            writer: Mutex::new(writer),
        })
    }

    pub(super) async fn place(&self, command: OrderCommand) -> anyhow::Result<OrderReply> {
        let Some(queue) = self.queue.lock().clone() else {
            return Ok(OrderReply::HighDemand);
        };
        // A place in the queue first: what Redis has counted must be written.
        let Ok(place) = queue.try_reserve() else {
            return Ok(OrderReply::HighDemand);
        };
        let Some(product) = self.product(command.product_id).await? else {
            return Ok(OrderReply::SoldOut);
        };
        if !self.take(&product, command.quantity).await? {
            return Ok(OrderReply::SoldOut);
        }
        let order = order(command, product.price, product.currency);
        place.send(order.clone());
        Ok(OrderReply::Created(Box::new(order)))
    }

    async fn take(&self, product: &Product, quantity: i32) -> anyhow::Result<bool> {
        let mut redis = self.redis.clone();
        let key = format!("stock:{}", product.id);
        let mut take = self.take.key(&key);
        take.arg(quantity);
        let taken: i32 = take.invoke_async(&mut redis).await?;
        if taken >= 0 {
            return Ok(taken == 1);
        }
        let mut set = redis::cmd("SET");
        let set = set.arg(&key).arg(product.stock.on_hand).arg("NX");
        set.query_async::<()>(&mut redis).await?;
        let taken: i32 = take.invoke_async(&mut redis).await?;
        Ok(taken == 1)
    }

    async fn product(&self, id: ProductId) -> anyhow::Result<Option<Product>> {
        if let Some((at, product)) = &*self.product.lock()
            && product.id == id
            && at.elapsed() < PRICE_FOR
        {
            return Ok(Some(product.clone()));
        }
        let product = self.store.product(id).await?;
        let read = product.clone().map(|product| (Instant::now(), product));
        *self.product.lock() = read;
        Ok(product)
    }

    /// Writes the orders that wait.
    pub(super) async fn finish(&self) -> anyhow::Result<()> {
        drop(self.queue.lock().take());
        let mut writer = mem::take(&mut *self.writer.lock());
        while let Some(written) = writer.join_next().await {
            written??;
        }
        Ok(())
    }
}

async fn write_all(store: Store, mut orders: mpsc::Receiver<Order>) -> anyhow::Result<()> {
    let mut batch = Vec::new();
    while orders.recv_many(&mut batch, BATCH).await > 0 {
        batch.sort_by_key(|order| order.product_id);
        for orders in batch.chunk_by(|one, other| one.product_id == other.product_id) {
            write(&store, orders).await?;
        }
        batch.clear();
    }
    Ok(())
}

async fn write(store: &Store, orders: &[Order]) -> anyhow::Result<()> {
    let first = orders.first().context("an empty batch")?;
    let product = store.product(first.product_id).await?;
    let product = product.context("the product is gone")?;
    let mut stock = product.stock;
    for order in orders {
        stock.sell(order.quantity);
    }
    let change = StockChange {
        before: &product,
        stock,
    };
    let new = |order: &Order| NewOrder {
        order: order.clone(),
        key: None,
        from_waitlist: false,
    };
    let orders = NewOrders {
        orders: orders.iter().map(new).collect(),
    };
    let transaction = store.begin().await?;
    let written = transaction.write_stock(change, first.created_at).await?;
    anyhow::ensure!(written, "somebody else wrote the product");
    transaction.insert_orders(&orders).await?;
    Ok(transaction.commit().await?)
}
