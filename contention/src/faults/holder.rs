//! The fault `pause_holder`: stops (SIGSTOP) a node that holds the lock for longer than the lock's
//! TTL.
//!
//! All buyers use the first node until it is stopped, so that it holds the lock and no other node
//! writes. During the pause all buyers use the second node. What the fence rejects after the node
//! resumes is therefore the node's own late write.

use std::time::{Duration, Instant};

use anyhow::Context;
use redis::aio::MultiplexedConnection;
use uuid::Uuid;

use crate::{
    client::Address,
    driver::requests::Load,
    figures::{Figures, whole},
    service::{Service, database::Database},
};

/// The service's default, and the length of the pause, which is longer.
const LOCK_TTL: Duration = Duration::from_secs(2);
const PAUSE: Duration = Duration::from_millis(2_300);
/// Longer than a node usually holds a lock.
const HELD_FOR: Duration = Duration::from_millis(60);
/// Time for another node to sell; without a sale the paused node blocks the database too.
const OTHERS_SELL_WITHIN: Duration = Duration::from_secs(3);
/// Attempts to stop the node while it holds the lock; most fail.
const TRIES_MAX: u32 = 400;
const TRIES_FOR: Duration = Duration::from_secs(20);
/// Time for the other node to finish its last orders.
const OTHERS_FINISH: Duration = Duration::from_millis(200);
/// Time for the resumed node to write its late batch.
const LATE_WRITE: Duration = Duration::from_millis(700);
const POLL: Duration = Duration::from_millis(2);

#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Paused {
    pub(crate) pauses: u32,
    /// Pauses during which the node held the lock until its TTL ended, and another node sold.
    pub(crate) with_lock: u32,
    pub(crate) fence_rejected: u64,
    /// Batches of the other nodes that passed the paused node's lock by.
    pub(crate) passed_by: u64,
    /// Whether the fence must have rejected a batch. PostgreSQL may end the transaction of a paused
    /// node, which then reads the row again and has nothing to reject.
    pub(crate) must_reject: bool,
}

/// Pauses the first node, again until the fence has rejected its late write.
pub(super) async fn pause(
    service: &Service,
    load: &Load,
    report: &impl Fn(String),
) -> anyhow::Result<Paused> {
    let node = service.nodes.first().context("no node")?;
    let operations = node.ops.clone().context("no operations listener")?;
    let product = load.offers.first().context("no product")?.id;
    let pattern = format!("lock:product:{product}:stock:*");
    let mut lock_nodes = connect(service).await?;
    let mut others = Vec::new();
    for other in service.nodes.iter().skip(1) {
        others.push(other.ops.clone().context("no operations listener")?);
    }
    let before_all = passed_by(&others).await;
    let mut paused = Paused {
        must_reject: service.database.as_ref().is_some_and(Database::is_file),
        ..Paused::default()
    };
    let deadline = Instant::now() + TRIES_FOR;
    while paused.pauses < TRIES_MAX && Instant::now() < deadline {
        let before = fence_rejected(&operations).await;
        wait_for_lock(&mut lock_nodes, &pattern, deadline).await?;
        node.pause()?;
        paused.pauses += 1;
        // Errors are returned only after the node has resumed.
        let lock = HeldLock {
            nodes: &mut lock_nodes,
            pattern: &pattern,
            product,
        };
        let outlived = outlive_lock(service, load, lock, report).await;
        load.route.set(Some(0));
        if matches!(outlived, Ok(true)) {
            tokio::time::sleep(OTHERS_FINISH).await;
        }
        node.resume()?;
        if outlived? {
            paused.with_lock += 1;
            report("node 1 resumed".to_owned());
            tokio::time::sleep(LATE_WRITE).await;
            paused.fence_rejected = fence_rejected(&operations).await.saturating_sub(before);
            if paused.fence_rejected > 0 {
                break;
            }
        }
    }
    load.route.set(None);
    paused.passed_by = passed_by(&others).await.saturating_sub(before_all);
    Ok(paused)
}

/// The lock that the stopped node may hold.
struct HeldLock<'a> {
    nodes: &'a mut [MultiplexedConnection],
    pattern: &'a str,
    product: Uuid,
}

/// Whether the stopped node holds the lock, and another node sells after the lock's TTL.
async fn outlive_lock(
    service: &Service,
    load: &Load,
    lock: HeldLock<'_>,
    report: &impl Fn(String),
) -> anyhow::Result<bool> {
    let HeldLock {
        nodes: lock_nodes,
        pattern,
        product,
    } = lock;
    let stopped = Instant::now();
    let Some(held) = held(lock_nodes, pattern).await? else {
        return Ok(false);
    };
    let level = held.0.rsplit(':').next().unwrap_or_default().to_owned();
    tokio::time::sleep(HELD_FOR).await;
    if self::held(lock_nodes, pattern).await? != Some(held) {
        return Ok(false);
    }
    // A node stopped inside its transaction also blocks a SQLite file, so that no node could sell;
    // PostgreSQL ends such a transaction, and nothing would be left to reject.
    if let Some(database) = &service.database
        && (database.is_being_written().await?
            // A changed stock means that the node has already written its batch.
            || database.stock(product).await? != level)
    {
        return Ok(false);
    }
    report("node 1 stopped with the lock".to_owned());
    load.route.set(Some(1));
    tokio::time::sleep(PAUSE.saturating_sub(stopped.elapsed())).await;
    let others = || {
        let since = load.recorder.at(stopped + LOCK_TTL);
        let won = load.recorder.won_since(since);
        won > 0
    };
    let deadline = stopped + OTHERS_SELL_WITHIN;
    while !others() && Instant::now() < deadline {
        tokio::time::sleep(POLL).await;
    }
    if !others() {
        report("no other node could sell: node 1 was stopped inside its transaction".to_owned());
    }
    Ok(others())
}

async fn connect(service: &Service) -> anyhow::Result<Vec<MultiplexedConnection>> {
    let redis = service
        .redis
        .as_ref()
        .context("this run started no Redis nodes")?;
    let mut connections = Vec::new();
    // Two of three nodes are a majority.
    for url in redis.urls().iter().take(2) {
        let client = redis::Client::open(url.expose())?;
        connections.push(client.get_multiplexed_async_connection().await?);
    }
    Ok(connections)
}

async fn wait_for_lock(
    lock_nodes: &mut [MultiplexedConnection],
    pattern: &str,
    deadline: Instant,
) -> anyhow::Result<()> {
    while held(lock_nodes, pattern).await?.is_none() && Instant::now() < deadline {
        tokio::time::sleep(POLL).await;
    }
    Ok(())
}

/// The key and the token of the product's lock, if they are the same on all of these nodes.
async fn held(
    lock_nodes: &mut [MultiplexedConnection],
    pattern: &str,
) -> anyhow::Result<Option<(String, Vec<u8>)>> {
    let mut found = Vec::new();
    for node in lock_nodes {
        let keys: Vec<String> = redis::cmd("KEYS").arg(pattern).query_async(node).await?;
        // Two keys are the locks of a batch that is being written and of the next one.
        let Ok([key]) = <[String; 1]>::try_from(keys) else {
            return Ok(None);
        };
        let token: Option<Vec<u8>> = redis::cmd("GET").arg(&key).query_async(node).await?;
        let Some(token) = token else {
            return Ok(None);
        };
        found.push((key, token));
    }
    let first = found.first().cloned();
    let same = found.iter().all(|held| Some(held) == first.as_ref());
    Ok(first.filter(|_| same))
}

async fn fence_rejected(operations: &Address) -> u64 {
    count(
        std::slice::from_ref(operations),
        "flash_sale_fence_rejected_total",
    )
    .await
}

async fn passed_by(operations: &[Address]) -> u64 {
    count(operations, "flash_sale_lock_bypassed_total").await
}

async fn count(operations: &[Address], counter: &str) -> u64 {
    let figures = Figures::read(operations).await;
    figures.map_or(0, |figures| whole(figures.sum(counter, &[])))
}
