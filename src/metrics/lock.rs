//! Metrics of the product lock and its nodes.

use metrics::{Unit, counter, describe_counter, describe_gauge, describe_histogram, gauge};

pub(super) fn init() {
    describe_counter!(
        "flash_sale_lock_acquire_total",
        "Attempts to acquire a product's lock, by outcome: acquired, busy, no_quorum (too few Redis nodes), error."
    );
    describe_histogram!(
        "flash_sale_lock_wait_seconds",
        Unit::Seconds,
        "Time from the start of a batch to its acquired lock, over all attempts."
    );
    describe_histogram!(
        "flash_sale_lock_hold_seconds",
        Unit::Seconds,
        "Time from the acquisition of a lock to its release."
    );
    describe_counter!(
        "flash_sale_lock_lost_total",
        "Locks whose validity ended before their release; only the fence protected the stock."
    );
    describe_counter!(
        "flash_sale_lock_bypassed_total",
        "Batches written without their lock because its holder showed no sign of life; only the fence protected the stock."
    );
    describe_gauge!(
        "flash_sale_lock_nodes_healthy",
        "Redis lock nodes that take locks and are in use."
    );
    describe_gauge!(
        "flash_sale_lock_nodes_out",
        "Redis lock nodes that are out of the lock, by reason."
    );
    describe_gauge!(
        "flash_sale_lock_degraded",
        "1 while fewer than a majority of lock nodes take locks, so that only the fence protects the stock."
    );
    describe_counter!(
        "flash_sale_fence_rejected_total",
        "Batches that the fence rejected because another node had written the product first."
    );
}

pub fn lost() {
    counter!("flash_sale_lock_lost_total").increment(1);
}

/// `healthy` nodes are in use; `degraded` when they are fewer than a majority.
pub fn nodes(healthy: u32, degraded: bool) {
    gauge!("flash_sale_lock_nodes_healthy").set(healthy);
    gauge!("flash_sale_lock_degraded").set(u8::from(degraded));
}

/// So many nodes are out of the lock for this reason.
pub fn nodes_out(reason: &'static str, nodes: usize) {
    let nodes = u32::try_from(nodes).unwrap_or(u32::MAX);
    gauge!("flash_sale_lock_nodes_out", "reason" => reason).set(nodes);
}
