//! Metrics of the instance: its build, its schema, the bounds that it was started with, and whether
//! it can take orders.
//!
//! Bounds are metrics so that alerts and dashboards need no copy of a setting.

use std::time::Duration;

use metrics::{Unit, counter, describe_counter, describe_gauge, gauge};
use strum::IntoEnumIterator;

use crate::domain::AuditAction;

const READY: &str = "flash_sale_ready";
const REDIS_UP: &str = "flash_sale_redis_up";
const LONGEST_QUEUE: &str = "flash_sale_lane_queue_longest";
const MIGRATIONS: &str = "flash_sale_schema_migrations";
const AUDIT: &str = "flash_sale_audit_entries_total";
const LOG_LINES_DROPPED: &str = "flash_sale_log_lines_dropped_total";

/// The commit of the build, if `FLASH_SALE_REVISION` named it when the program was compiled.
const REVISION: &str = match option_env!("FLASH_SALE_REVISION") {
    Some(revision) => revision,
    None => "unknown",
};

pub(super) fn init() {
    describe_gauge!(
        "flash_sale_build_info",
        "1, with the version of the program and the commit that it was built from as labels."
    );
    let version = env!("CARGO_PKG_VERSION");
    gauge!("flash_sale_build_info", "version" => version, "revision" => REVISION).set(1);
    describe_gauge!(
        MIGRATIONS,
        "Migrations of the schema as this node found them at its start, by state: applied, pending (this version has them, the database lacks them), newer (a later version has applied them)."
    );
    describe_gauge!(
        READY,
        "1 while /health/ready answers 200: the database takes writes, and no stop has begun. Read each second."
    );
    describe_gauge!(
        REDIS_UP,
        "1 while the Redis of stock and user events, rate limits and the cache answers; not exported where none is used."
    );
    describe_gauge!(
        LONGEST_QUEUE,
        "Commands in the longest queue of this node's lanes, over all products, also those without a label of their own."
    );
    describe_counter!(
        AUDIT,
        "Rows that this node added to the audit trail, by action."
    );
    describe_counter!(
        LOG_LINES_DROPPED,
        "Log lines that were given up, because standard error was not read in time."
    );
    counter!(LOG_LINES_DROPPED).absolute(0);
    ready(false);
    longest_queue(0);
    for action in AuditAction::iter() {
        audited(&action, 0);
    }
    describe_bounds();
}

fn describe_bounds() {
    describe_gauge!(
        "flash_sale_lane_queue_max",
        "Commands that may wait in a product's lane: LANE_QUEUE_MAX."
    );
    describe_gauge!(
        "flash_sale_batch_orders_max",
        "Commands that a batch may have: ORDER_BATCH_MAX."
    );
    describe_gauge!(
        "flash_sale_request_timeout_seconds",
        Unit::Seconds,
        "Time within which every request is answered: REQUEST_TIMEOUT_MS."
    );
    describe_gauge!(
        "flash_sale_lock_patience_seconds",
        Unit::Seconds,
        "Time that an order waits for busy locks: LOCK_PATIENCE_MS."
    );
    describe_gauge!(
        "flash_sale_lock_ttl_seconds",
        Unit::Seconds,
        "Time after which a lock ends by itself: LOCK_TTL_MS."
    );
    describe_gauge!(
        "flash_sale_rate_limit_per_minute",
        "Order requests that a user may send in a minute: RATE_LIMIT_PER_MINUTE; 0 means no limit."
    );
}

/// Bounds that the settings give.
#[derive(Clone, Copy, Debug)]
pub struct Bounds {
    pub lane_queue: u32,
    pub batch_orders: u32,
    pub request_timeout: Duration,
    pub lock_patience: Duration,
    pub lock_ttl: Duration,
    pub rate_limit_per_minute: u32,
}

pub fn bounds(bounds: &Bounds) {
    gauge!("flash_sale_lane_queue_max").set(bounds.lane_queue);
    gauge!("flash_sale_batch_orders_max").set(bounds.batch_orders);
    gauge!("flash_sale_request_timeout_seconds").set(bounds.request_timeout);
    gauge!("flash_sale_lock_patience_seconds").set(bounds.lock_patience);
    gauge!("flash_sale_lock_ttl_seconds").set(bounds.lock_ttl);
    gauge!("flash_sale_rate_limit_per_minute").set(bounds.rate_limit_per_minute);
}

/// How many migrations the schema has, lacks, and has from a later version.
pub fn migrations(applied: usize, pending: usize, newer: usize) {
    for (state, count) in [("applied", applied), ("pending", pending), ("newer", newer)] {
        gauge!(MIGRATIONS, "state" => state).set(super::number(count));
    }
}

pub fn ready(ready: bool) {
    gauge!(READY).set(u8::from(ready));
}

pub fn redis_up(up: bool) {
    gauge!(REDIS_UP).set(u8::from(up));
}

pub fn longest_queue(commands: usize) {
    gauge!(LONGEST_QUEUE).set(super::number(commands));
}

pub fn log_line_dropped() {
    counter!(LOG_LINES_DROPPED).increment(1);
}

/// Counts rows of the audit trail; actions that only a later version knows share a label.
pub fn audited(action: &AuditAction, rows: u64) {
    let label = match action {
        AuditAction::Other(_) => "other".to_owned(),
        AuditAction::CreateProduct
        | AuditAction::ChangeProduct
        | AuditAction::Restock
        | AuditAction::ArchiveProduct
        | AuditAction::CancelOrder
        | AuditAction::RefundOrder
        | AuditAction::ResolveOrder
        | AuditAction::ConfirmOrder => action.to_string(),
    };
    counter!(AUDIT, "action" => label).increment(rows);
}
