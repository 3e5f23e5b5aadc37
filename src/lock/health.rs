//! Health check of the lock nodes: a loop that removes nodes that take no locks.
//!
//! A node is removed at its first failed check (`lock/node.rs`) and returns only after it has passed
//! for longer than a lock's TTL: a node that restarted empty has lost locks that are still held.
//! Without a majority of nodes, batches are written under the fence alone.

use std::{sync::Arc, time::Duration};

use futures::future::join_all;

use super::{Health, fault, node::WatchedNode, redlock::Redlock};
use crate::{metrics, tasks::Tasks};

const CHECK_EVERY: Duration = Duration::from_millis(100);

/// Checks every node until the service stops.
pub(super) async fn watch(redlock: Arc<Redlock>, tasks: Tasks) {
    let clients = redlock.clients.iter().cloned();
    let mut nodes: Vec<WatchedNode> = clients.map(WatchedNode::new).collect();
    report(&redlock);
    let mut attempt_failed = false;
    loop {
        let quarantine = redlock.ttl();
        join_all(nodes.iter_mut().map(|node| node.check(quarantine))).await;
        let faults: Vec<_> = nodes.iter().map(|node| node.fault).collect();
        let before = redlock.health().healthy;
        let changed = redlock.set_faults(faults);
        // If the nodes answer but an attempt failed, the lock's connections are dead.
        if changed || attempt_failed {
            redlock.use_healthy_nodes();
        }
        if before != redlock.health().healthy {
            announce(redlock.health());
        }
        report(&redlock);
        attempt_failed = tokio::select! {
            () = tasks.stopped() => return,
            () = tokio::time::sleep(CHECK_EVERY) => false,
            () = redlock.failed_attempt.notified() => true,
        };
    }
}

fn report(redlock: &Redlock) {
    let health = redlock.health();
    let healthy = u32::try_from(health.healthy).unwrap_or(u32::MAX);
    metrics::lock::nodes(healthy, !health.has_quorum());
    fault::report(&redlock.faults());
}

fn announce(health: Health) {
    let Health { nodes, healthy } = health;
    if healthy == nodes {
        tracing::info!(healthy, nodes, "all {nodes} lock nodes take locks");
    } else if health.has_quorum() {
        tracing::warn!(healthy, nodes, "{healthy} of {nodes} lock nodes take locks");
    } else {
        tracing::warn!(
            healthy,
            nodes,
            "{healthy} of {nodes} lock nodes take locks: no majority, only the fence is active"
        );
    }
}
