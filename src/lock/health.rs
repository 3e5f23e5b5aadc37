//! Watches the lock nodes: a ping loop that tells silent and dead nodes from living ones.
//!
//! A node leaves the lock at its first missed ping and comes back only after it has answered for
//! longer than a lock lives: one that restarted empty has forgotten locks that are still held.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use futures::future::join_all;
use redis::{Client, aio::MultiplexedConnection};

use super::{Health, redlock::Redlock};
use crate::{metrics, tasks::Tasks};

const PING_EVERY: Duration = Duration::from_millis(100);
/// Longer than a busy machine keeps a healthy node waiting; meanwhile a silent node costs each
/// batch one time-out of its try, never an order.
const PING_TIMEOUT: Duration = Duration::from_millis(250);

/// A node as the watch sees it.
struct Node {
    client: Client,
    connection: Option<MultiplexedConnection>,
    /// Answers without a break since then.
    answers_since: Option<Instant>,
    /// Part of the lock.
    used: bool,
}

impl Node {
    /// Whether the node answered this time.
    async fn ping(&mut self) -> bool {
        let answered = tokio::time::timeout(PING_TIMEOUT, self.try_ping()).await;
        let alive = matches!(answered, Ok(Ok(())));
        if !alive {
            self.connection = None;
        }
        alive
    }

    async fn try_ping(&mut self) -> redis::RedisResult<()> {
        let mut connection = match self.connection.take() {
            Some(connection) => connection,
            None => self.client.get_multiplexed_async_connection().await?,
        };
        redis::cmd("PING").exec_async(&mut connection).await?;
        self.connection = Some(connection);
        Ok(())
    }

    /// Pings and decides whether the lock uses the node: out at once, in after `quarantine`.
    async fn look(&mut self, quarantine: Duration) {
        if !self.ping().await {
            self.answers_since = None;
            self.used = false;
            return;
        }
        let since = *self.answers_since.get_or_insert_with(Instant::now);
        self.used = self.used || since.elapsed() >= quarantine;
    }
}

/// Pings every node until the service stops.
pub(super) async fn watch(redlock: Arc<Redlock>, tasks: Tasks) {
    let mut nodes: Vec<Node> = redlock
        .clients
        .iter()
        .map(|client| Node {
            client: client.clone(),
            connection: None,
            answers_since: None,
            used: true,
        })
        .collect();
    report(redlock.health());
    let mut suspected = false;
    loop {
        let quarantine = redlock.ttl();
        join_all(nodes.iter_mut().map(|node| node.look(quarantine))).await;
        let healthy: Vec<bool> = nodes.iter().map(|node| node.used).collect();
        let changed = healthy != redlock.healthy();
        // If the nodes answer but the lock did not, its connections are dead.
        if changed || suspected {
            redlock.use_nodes(healthy);
        }
        if changed {
            announce(redlock.health());
        }
        report(redlock.health());
        suspected = tokio::select! {
            () = tasks.stopped() => return,
            () = tokio::time::sleep(PING_EVERY) => false,
            () = redlock.suspicion.notified() => true,
        };
    }
}

fn report(health: Health) {
    let healthy = u32::try_from(health.healthy).unwrap_or(u32::MAX);
    metrics::lock_nodes(healthy, !health.has_quorum());
}

fn announce(health: Health) {
    let Health { nodes, healthy } = health;
    if healthy == nodes {
        tracing::info!(healthy, nodes, "all {nodes} lock nodes answer");
    } else if health.has_quorum() {
        tracing::warn!(healthy, nodes, "{healthy} of {nodes} lock nodes answer");
    } else {
        tracing::warn!(
            healthy,
            nodes,
            "{healthy} of {nodes} lock nodes answer: no majority, the database guard works alone"
        );
    }
}
