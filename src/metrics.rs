//! Every metric of the service: name, help and labels, one function per event.
//!
//! The names are a contract with dashboards. Labels are small sets: enums, or the sku of one of
//! the first `METRICS_PRODUCTS_MAX` products; later ones share the label `other`.

use std::{collections::HashMap, sync::LazyLock, time::Duration};

use metrics::{
    Counter, Gauge, Histogram, Unit, counter, describe_counter, describe_gauge, describe_histogram,
    gauge, histogram,
};

use self::label::label;
use crate::domain::OutcomeLabel;

pub mod auth;
pub mod cache;
pub mod connections;
pub mod database;
pub mod gate;
pub mod holds;
pub mod http;
pub mod instance;
mod label;
pub mod lock;
pub mod payments;
pub mod runtime;
pub mod traces;
pub mod verify;

/// Seconds: from 0.1 ms, the scale of a lock attempt, to the request time-out.
pub const SECONDS_BUCKETS: [f64; 16] = [
    0.000_1, 0.000_25, 0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1, 0.15, 0.25, 0.5,
    1.0, 2.5, 5.0,
];
/// Seconds of a product's lock. Fewer of `SECONDS_BUCKETS`, because each product has these histograms:
/// they are a third of the lines of a scrape of many products.
pub const LOCK_BUCKETS: [f64; 9] = [0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.1, 0.25, 2.5];
/// Orders in a batch.
pub const BATCH_BUCKETS: [f64; 7] = [1.0, 2.0, 4.0, 16.0, 64.0, 256.0, 1_024.0];
pub const BATCH_ORDERS: &str = "flash_sale_batch_orders";
/// What the names of the lock's metrics begin with.
pub const LOCK: &str = "flash_sale_lock_";
const SOLD_OUT: &str = "flash_sale_sold_out_seconds";

/// The label of a request for an unknown product.
pub const UNKNOWN: &str = "unknown";

/// Describes every metric and starts the counters whose labels are known at 0.
pub fn init(products_max: usize) {
    label::limit(products_max);
    lock::init();
    describe_orders();
    describe_service();
    database::init();
    holds::init();
    for outcome in OutcomeLabel::all() {
        orders(UNKNOWN, outcome).absolute(0);
    }
    for unlabelled in [
        "flash_sale_lock_lost_total",
        "flash_sale_rate_limited_total",
        "flash_sale_rate_limit_fallback_total",
        "flash_sale_abandoned_total",
        "flash_sale_stock_events_dropped_total",
    ] {
        counter!(unlabelled).absolute(0);
    }
    LazyLock::force(&ORDER_DURATIONS);
    http::init();
    payments::init();
    auth::init();
    cache::init();
    connections::init();
    instance::init();
    runtime::init();
    traces::init();
    verify::init();
}

/// A number of things, as a gauge takes it.
fn number(count: usize) -> u32 {
    u32::try_from(count).unwrap_or(u32::MAX)
}

fn describe_orders() {
    describe_counter!(
        "flash_sale_orders_total",
        "Order requests by outcome: created, replayed, waitlisted, or the code of the refusal or error."
    );
    describe_counter!("flash_sale_order_units_total", "Units sold.");
    describe_histogram!(
        "flash_sale_order_duration_seconds",
        Unit::Seconds,
        "Time from the start of an order request to its outcome, for requests that the sold-out gate or a lane answered."
    );
    describe_histogram!(
        BATCH_ORDERS,
        "Commands of a batch, which share one lock and one transaction."
    );
    describe_gauge!(
        "flash_sale_lane_queue",
        "Commands waiting in a product's lane on this node."
    );
    describe_gauge!(
        "flash_sale_stock",
        "Units without a live order, as this node last read or wrote them."
    );
    describe_gauge!(
        SOLD_OUT,
        Unit::Seconds,
        "Time from the start of a product's sale (starts_at, else its creation) until this node sold the last unit; not exported before that."
    );
    describe_counter!(
        "flash_sale_rate_limited_total",
        "Order requests refused by the rate limit of their user."
    );
    describe_counter!(
        "flash_sale_rate_limit_fallback_total",
        "Requests decided by this node's own rate limit because Redis did not count them in time."
    );
    describe_counter!(
        "flash_sale_abandoned_total",
        "Commands whose caller disconnected or timed out before a batch claimed them."
    );
}

fn describe_service() {
    describe_counter!(
        "flash_sale_stock_events_dropped_total",
        "Stock events that were not published to other nodes because the outbox was full."
    );
}

/// The metric handles of one product, made once by its lane: the hot path needs no registry lookup.
#[derive(Clone)]
pub struct ProductMetrics {
    label: String,
    pub acquired: Counter,
    pub busy: Counter,
    pub no_quorum: Counter,
    pub lock_error: Counter,
    pub lock_bypassed: Counter,
    pub lock_wait: Histogram,
    pub lock_hold: Histogram,
    pub fence_rejected: Counter,
    pub units: Counter,
    pub batch_orders: Histogram,
    pub queue: Gauge,
    pub stock: Gauge,
    pub waitlist: Gauge,
}

impl std::fmt::Debug for ProductMetrics {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ProductMetrics")
            .field("label", &self.label)
            .finish_non_exhaustive()
    }
}

/// The handles of the product with this sku; registers the counters by which its drop is watched.
pub fn product(sku: &str) -> ProductMetrics {
    let label = label(sku);
    let acquire = |outcome: &'static str| counter!("flash_sale_lock_acquire_total", "product" => label.clone(), "outcome" => outcome);
    // Not all: a scrape of 200 products would have 2,400 more lines that are almost always 0.
    for outcome in OutcomeLabel::watched() {
        orders(&label, outcome).increment(0);
    }
    let handles = ProductMetrics {
        acquired: acquire("acquired"),
        busy: acquire("busy"),
        no_quorum: acquire("no_quorum"),
        lock_error: acquire("error"),
        lock_bypassed: counter!("flash_sale_lock_bypassed_total", "product" => label.clone()),
        lock_wait: histogram!("flash_sale_lock_wait_seconds", "product" => label.clone()),
        lock_hold: histogram!("flash_sale_lock_hold_seconds", "product" => label.clone()),
        fence_rejected: counter!("flash_sale_fence_rejected_total", "product" => label.clone()),
        units: counter!("flash_sale_order_units_total", "product" => label.clone()),
        batch_orders: histogram!(BATCH_ORDERS, "product" => label.clone()),
        queue: gauge!("flash_sale_lane_queue", "product" => label.clone()),
        stock: gauge!("flash_sale_stock", "product" => label.clone()),
        waitlist: gauge!("flash_sale_waitlist", "product" => label.clone()),
        label,
    };
    for counter in [
        &handles.acquired,
        &handles.busy,
        &handles.no_quorum,
        &handles.lock_error,
        &handles.lock_bypassed,
        &handles.fence_rejected,
        &handles.units,
    ] {
        counter.increment(0);
    }
    handles
}

impl ProductMetrics {
    pub fn ordered(&self, outcome: OutcomeLabel, count: u64) {
        orders(&self.label, outcome).increment(count);
    }

    /// The last unit was sold so long after the sale began.
    pub fn sold_out(&self, after: Duration) {
        gauge!(SOLD_OUT, "product" => self.label.clone()).set(after);
    }
}

/// Counts an order request that ended before a lane had read its product.
pub fn ordered_unknown(outcome: OutcomeLabel) {
    orders(UNKNOWN, outcome).increment(1);
}

fn orders(product: &str, outcome: OutcomeLabel) -> Counter {
    counter!("flash_sale_orders_total", "product" => product.to_owned(), "outcome" => outcome.name())
}

/// One histogram per outcome, made once: the hot path needs no registry lookup.
static ORDER_DURATIONS: LazyLock<HashMap<OutcomeLabel, Histogram>> = LazyLock::new(|| {
    let histogram = |outcome: OutcomeLabel| histogram!("flash_sale_order_duration_seconds", "outcome" => outcome.name());
    OutcomeLabel::all()
        .map(|outcome| (outcome, histogram(outcome)))
        .collect()
});

pub fn order_answered(outcome: OutcomeLabel, took: Duration) {
    if let Some(histogram) = ORDER_DURATIONS.get(&outcome) {
        histogram.record(took);
    }
}

pub fn order_abandoned() {
    counter!("flash_sale_abandoned_total").increment(1);
}

pub fn rate_limited() {
    counter!("flash_sale_rate_limited_total").increment(1);
}

/// Counts a request that Redis should have counted and did not.
pub fn rate_limit_fallback() {
    counter!("flash_sale_rate_limit_fallback_total").increment(1);
}

/// Counts a stock change that other nodes will read only by their poll.
pub fn event_dropped() {
    counter!("flash_sale_stock_events_dropped_total").increment(1);
}
