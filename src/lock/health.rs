//! Health check of the lock nodes: a ping loop that removes unresponsive nodes from the lock.
//!
//! A node is removed at its first missed ping and returns only after it has answered for longer
//! than a lock's TTL: a node that restarted empty has lost locks that are still held. Without a
//! majority of nodes, batches are written under the fence alone.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use futures::future::join_all;
use redis::{Client, aio::MultiplexedConnection};

use super::{Health, redlock::Redlock};
use crate::{metrics, tasks::Tasks};

const PING_EVERY: Duration = Duration::from_millis(100);
/// Longer than a healthy node takes on a busy machine; until then an unresponsive node costs each
/// batch one time-out of its attempt, but no order.
const PING_TIMEOUT: Duration = Duration::from_millis(250);

/// A lock node and its state in the health check.
struct WatchedNode {
    client: Client,
    connection: Option<MultiplexedConnection>,
    /// The start of its current run of answered pings.
    answers_since: Option<Instant>,
    /// Whether the lock uses it.
    used: bool,
}

impl WatchedNode {
    /// Whether the node answers within [`PING_TIMEOUT`].
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

    /// Pings the node: it is removed at a failure, and used again after `quarantine`.
    async fn check(&mut self, quarantine: Duration) {
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
    let mut nodes: Vec<WatchedNode> = redlock
        .clients
        .iter()
        .map(|client| WatchedNode {
            client: client.clone(),
            connection: None,
            answers_since: None,
            used: true,
        })
        .collect();
    report(redlock.health());
    let mut attempt_failed = false;
    loop {
        let quarantine = redlock.ttl();
        join_all(nodes.iter_mut().map(|node| node.check(quarantine))).await;
        let healthy: Vec<bool> = nodes.iter().map(|node| node.used).collect();
        let changed = healthy != redlock.healthy();
        // If the nodes answer but an attempt failed, the lock's connections are dead.
        if changed || attempt_failed {
            redlock.use_nodes(healthy);
        }
        if changed {
            announce(redlock.health());
        }
        report(redlock.health());
        attempt_failed = tokio::select! {
            () = tasks.stopped() => return,
            () = tokio::time::sleep(PING_EVERY) => false,
            () = redlock.failed_attempt.notified() => true,
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
            "{healthy} of {nodes} lock nodes answer: no majority, only the fence is active"
        );
    }
}
