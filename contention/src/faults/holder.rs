//! The fault `pause_holder`: stops (SIGSTOP) a node that holds the lock for longer than the lock's TTL.
//!
//! All buyers use that node until it is stopped: so the lock is its own, and no other node writes.
//! Meanwhile all buyers use the next one. What the fence rejects when the node
//! resumes, before buyers use the other again, is therefore its own late writing.

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

/// The service's own default, and what passes until the node runs again.
const LOCK_TTL: Duration = Duration::from_secs(2);
const PAUSE: Duration = Duration::from_millis(2_300);
/// Longer than any other node holds a lock.
const SETTLES: Duration = Duration::from_millis(60);
/// The others sell by then, or the paused one has the database too and no node can.
const OTHERS_SELL_WITHIN: Duration = Duration::from_secs(3);
/// Attempts to stop the holder; most miss.
const TRIES_MAX: u32 = 400;
const TRIES_FOR: Duration = Duration::from_secs(20);
/// What the other node still has to do when no buyers come any more.
const OTHERS_FINISH: Duration = Duration::from_millis(200);
/// What the resumed node does with its late batch.
const LATE_WRITE: Duration = Duration::from_millis(700);
const POLL: Duration = Duration::from_millis(2);

#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Paused {
    pub(crate) pauses: u32,
    /// Pauses that met the holder, outlived its lock, and saw others sell meanwhile.
    pub(crate) met: u32,
    pub(crate) fence_rejected: u64,
    /// Whether one of them must have come to the fence. PostgreSQL may have ended the transaction
    /// of a node that stood still, which then reads anew and has nothing to be rejected.
    pub(crate) must_reject: bool,
}

/// Pauses the first node until the fence has rejected what it did afterwards.
pub(super) async fn pause(
    service: &Service,
    load: &Load,
    tell: &impl Fn(String),
) -> anyhow::Result<Paused> {
    let node = service.nodes.first().context("no node")?;
    let operations = node.ops.clone().context("no operations listener")?;
    let product = load.offers.first().context("no product")?.id;
    let pattern = format!("lock:product:{product}:stock:*");
    let mut lock_nodes = connect(service).await?;
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
        // Whatever happens in between, it runs again.
        let met = meet(service, load, (&mut lock_nodes, &pattern, product), tell).await;
        load.route.lead(Some(0));
        if matches!(met, Ok(true)) {
            tokio::time::sleep(OTHERS_FINISH).await;
        }
        node.resume()?;
        if met? {
            paused.met += 1;
            tell("node 1 resumed".to_owned());
            tokio::time::sleep(LATE_WRITE).await;
            paused.fence_rejected = fence_rejected(&operations).await.saturating_sub(before);
            if paused.fence_rejected > 0 {
                break;
            }
        }
    }
    load.route.lead(None);
    Ok(paused)
}

/// With the node stopped: whether it holds the lock, and others sell when that has run out.
async fn meet(
    service: &Service,
    load: &Load,
    (lock_nodes, pattern, product): (&mut [MultiplexedConnection], &str, Uuid),
    tell: &impl Fn(String),
) -> anyhow::Result<bool> {
    let stopped = Instant::now();
    let Some(held) = held(lock_nodes, pattern).await? else {
        return Ok(false);
    };
    let level = held.0.rsplit(':').next().unwrap_or_default().to_owned();
    tokio::time::sleep(SETTLES).await;
    if self::held(lock_nodes, pattern).await? != Some(held) {
        return Ok(false);
    }
    // In the middle of its transaction it would have the only writer of a SQLite file too, and
    // no node could sell; PostgreSQL ends such a transaction, and nothing is left to fence off.
    if let Some(database) = &service.database
        && (database.is_being_written().await?
            // What it had to write is written: it has nothing left to do with this lock.
            || database.stock(product).await? != level)
    {
        return Ok(false);
    }
    tell("node 1 stopped with the lock".to_owned());
    load.route.lead(Some(1));
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
        tell("no other node could sell: it was stopped inside its transaction".to_owned());
    }
    Ok(others())
}

async fn connect(service: &Service) -> anyhow::Result<Vec<MultiplexedConnection>> {
    let redis = service.redis.as_ref().context("no Redis nodes of ours")?;
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

/// The product's lock and its owner's mark, if the same stands on all of these nodes.
async fn held(
    lock_nodes: &mut [MultiplexedConnection],
    pattern: &str,
) -> anyhow::Result<Option<(String, Vec<u8>)>> {
    let mut found = Vec::new();
    for node in lock_nodes {
        let keys: Vec<String> = redis::cmd("KEYS").arg(pattern).query_async(node).await?;
        // Two are those of a batch that is written and of the next one.
        let Ok([key]) = <[String; 1]>::try_from(keys) else {
            return Ok(None);
        };
        let mark: Option<Vec<u8>> = redis::cmd("GET").arg(&key).query_async(node).await?;
        let Some(mark) = mark else {
            return Ok(None);
        };
        found.push((key, mark));
    }
    let first = found.first().cloned();
    let same = found.iter().all(|held| Some(held) == first.as_ref());
    Ok(first.filter(|_| same))
}

async fn fence_rejected(operations: &Address) -> u64 {
    let figures = Figures::read(std::slice::from_ref(operations)).await;
    figures.map_or(0, |figures| {
        whole(figures.sum("flash_sale_fence_rejected_total", &[]))
    })
}
