//! Another node that holds a product's locks and writes the product, as far as a lane can see.

use std::{sync::Arc, time::Duration};

use sea_orm::{ConnectionTrait, DatabaseConnection};
use tokio::{sync::Notify, task::JoinSet};
use uuid::Uuid;

use super::{ledger, redis::Nodes, shop::Shop};

/// Shorter than the time after which a lane passes a lock by.
const WRITES_EVERY: Duration = Duration::from_millis(20);
const OWNER: &str = "somebody-else";

/// Holds the locks of two stock levels and moves the product between them, until it leaves.
pub(crate) struct Rival {
    keys: [String; 2],
    leaves: Arc<Notify>,
    writer: JoinSet<()>,
}

impl Rival {
    /// Takes the locks of the product's present level and of one unit more.
    pub(crate) async fn holds(shop: &Shop, product: Uuid) -> Self {
        let stock = shop.ledger.product(product).await.stock;
        let keys = [stock, stock + 1].map(|level| format!("lock:product:{product}:stock:{level}"));
        for key in &keys {
            shop.redis().set(key, OWNER).await;
        }
        let leaves = Arc::new(Notify::new());
        let database = ledger::connect(&shop.database_url).await;
        // On a busy disk a commit may take longer than a lane believes in its holder.
        let off = "SET synchronous_commit = off";
        database.execute_unprepared(off).await.unwrap();
        let writer = [write(database, product, Arc::clone(&leaves))];
        Self {
            keys,
            leaves,
            writer: JoinSet::from_iter(writer),
        }
    }

    /// Puts the product back to its level, and releases the locks.
    pub(crate) async fn leaves(self, redis: &Nodes) {
        self.leaves.notify_one();
        self.writer.join_all().await;
        for key in &self.keys {
            for node in &redis.0 {
                let owner: Option<String> = node.run(&["GET", key]).await;
                assert_eq!(owner.as_deref(), Some(OWNER), "{key}");
            }
            redis.delete(key).await;
        }
    }
}

async fn write(database: DatabaseConnection, product: Uuid, leaves: Arc<Notify>) {
    let mut ticks = tokio::time::interval(WRITES_EVERY);
    let mut more = true;
    loop {
        let goes_on = tokio::select! {
            _ = ticks.tick() => true,
            () = leaves.notified() => false,
        };
        if goes_on || !more {
            let step = if more { 1 } else { -1 };
            let write = format!(
                "UPDATE products SET version = version + 1, stock = stock + ({step}), \
                 stock_total = stock_total + ({step}) WHERE id = '{product}'"
            );
            database.execute_unprepared(&write).await.unwrap();
            more = !more;
        }
        if !goes_on {
            return;
        }
    }
}
