//! The document that every viewer gets: all nodes' reports as one, and the drops with their sales.

use std::{collections::BTreeMap, time::Duration};

use chrono::{DateTime, Utc};
use serde::Serialize;
use uuid::Uuid;

use super::{
    alerts::Alerts,
    crowd::CrowdState,
    drops::Facts,
    report::{Count, LockState, ProductReport, Report, add, float, quantile},
};
use crate::{
    domain::ProductId,
    metrics::{LOCK_BUCKETS, SECONDS_BUCKETS},
    telemetry::faults::{Fault, KEPT_MAX},
};

#[derive(Debug, Serialize)]
pub(super) struct Snapshot {
    at: DateTime<Utc>,
    /// The node that serves the page.
    node: Uuid,
    version: String,
    /// Whether the database was read in time; else the drops are those of the last look.
    database: bool,
    /// `None` without `ALERTMANAGER_URL`.
    alerts: Option<Alerts>,
    /// Created orders.
    orders: Count,
    answers: Vec<Answer>,
    latency: Latency,
    in_flight: u64,
    connections: u64,
    viewers: u32,
    lock: LockState,
    busy_per_second: f64,
    drops: Vec<DropFigures>,
    nodes: Vec<Node>,
    faults: Vec<NodeFault>,
    crowd: Option<CrowdState>,
    /// For the charts.
    pub(super) point: Point,
}

/// An answer by its outcome.
#[derive(Debug, Serialize)]
struct Answer {
    outcome: String,
    #[serde(flatten)]
    count: Count,
}

/// Milliseconds; `None` without an observation in the window.
#[derive(Clone, Copy, Debug, Serialize)]
struct Latency {
    p50: Option<f64>,
    p95: Option<f64>,
    p99: Option<f64>,
}

#[derive(Debug, Serialize)]
struct DropFigures {
    id: ProductId,
    sku: String,
    name: String,
    published: bool,
    starts_at: Option<DateTime<Utc>>,
    ends_at: Option<DateTime<Utc>>,
    stock_total: i32,
    /// Units without a live order.
    stock: i32,
    for_sale: i32,
    sold: i32,
    waitlist: i64,
    /// Seconds until the last unit is sold at the speed of the last seconds.
    sells_out_in: Option<f64>,
    /// Seconds that the sale took, if it was watched.
    sold_out_in: Option<f64>,
    orders: Count,
    units: Count,
    waitlisted: Count,
    refused: Count,
    lock: Contention,
    batch_orders: Option<f64>,
    queue: u64,
}

/// The product's lock.
#[derive(Debug, Serialize)]
struct Contention {
    acquired: Count,
    busy: Count,
    bypassed: u64,
    fence_rejected: u64,
    /// Milliseconds.
    wait_p95: Option<f64>,
}

#[derive(Debug, Serialize)]
struct Node {
    id: Uuid,
    name: String,
    version: String,
    /// Whether it serves the page.
    own: bool,
    uptime_seconds: u64,
    /// `None` while it reports every second.
    silent_seconds: Option<u64>,
    orders: Count,
    latency: Latency,
    in_flight: u64,
    connections: u64,
    queue: u64,
    lock: LockState,
}

#[derive(Debug, Serialize)]
struct NodeFault {
    node: String,
    #[serde(flatten)]
    fault: Fault,
}

/// One second in the charts, in the order of the page's columns; a new viewer gets 15 minutes of
/// them, hence without names and further digits.
#[derive(Clone, Copy, Debug, Serialize)]
pub(super) struct Point(
    /// Seconds since the epoch.
    i64,
    /// Orders, waitlist entries and refusals a second.
    [f64; 3],
    /// The percentiles of the answer time.
    [Option<f64>; 3],
    /// Locks acquired and attempts that found one busy, a second.
    [f64; 2],
    /// Commands of a batch.
    Option<f64>,
);

/// What a snapshot is made from.
#[derive(Debug)]
pub(super) struct Parts<'a> {
    pub(super) own: &'a Report,
    /// The other nodes, and for how long each is silent.
    pub(super) others: Vec<(Report, Duration)>,
    pub(super) silent_after: Duration,
    pub(super) drops: &'a [Facts],
    pub(super) database: bool,
    pub(super) alerts: Option<Alerts>,
    pub(super) viewers: u32,
    pub(super) crowd: Option<CrowdState>,
    pub(super) at: DateTime<Utc>,
}

impl Snapshot {
    pub(super) fn of(parts: &Parts<'_>) -> Self {
        let heard = parts.others.iter();
        let heard = heard.filter(|(_, silent)| *silent < parts.silent_after);
        let reports: Vec<&Report> = std::iter::once(parts.own)
            .chain(heard.map(|(report, _)| report))
            .collect();
        let answers = answers(&reports);
        let products: Vec<&ProductReport> = reports.iter().flat_map(|one| &one.products).collect();
        let drops = parts
            .drops
            .iter()
            .map(|facts| DropFigures::of(facts, &products));
        let rate = |count: fn(&ProductReport) -> Count| {
            let rates = products.iter().map(|product| count(product).per_second);
            rates.sum::<f64>()
        };
        let latency = Latency::of(reports.iter().map(|report| &report.durations));
        let batch_orders = mean_batch(&products);
        let acquired = rate(|product| product.acquired);
        let busy = rate(|product| product.busy);
        Self {
            at: parts.at,
            point: Point::of(parts.at, &answers, latency, [acquired, busy], batch_orders),
            node: parts.own.identity.node,
            version: parts.own.identity.version.clone(),
            database: parts.database,
            alerts: parts.alerts.clone(),
            orders: answers.get("created").copied().unwrap_or_default(),
            latency,
            in_flight: reports.iter().map(|report| report.in_flight).sum(),
            connections: reports.iter().map(|report| report.connections).sum(),
            viewers: parts.viewers,
            lock: parts.own.lock,
            busy_per_second: busy,
            drops: drops.collect(),
            nodes: nodes(parts),
            faults: faults(&reports),
            crowd: parts.crowd,
            answers: answers
                .into_iter()
                .map(|(outcome, count)| Answer { outcome, count })
                .collect(),
        }
    }
}

impl Point {
    fn of(
        at: DateTime<Utc>,
        answers: &BTreeMap<String, Count>,
        Latency { p50, p95, p99 }: Latency,
        locks: [f64; 2],
        batch_orders: Option<f64>,
    ) -> Self {
        let (mut bought, mut waitlisted, mut refused) = (0.0, 0.0, 0.0);
        for (outcome, count) in answers {
            match outcome.as_str() {
                "created" => bought += count.per_second,
                "waitlisted" => waitlisted += count.per_second,
                "replayed" => {}
                _ => refused += count.per_second,
            }
        }
        let short = |number: f64| (10.0 * number).round() / 10.0;
        Self(
            at.timestamp(),
            [bought, waitlisted, refused].map(short),
            [p50, p95, p99].map(|percentile| percentile.map(short)),
            locks.map(short),
            batch_orders.map(short),
        )
    }
}

impl Latency {
    fn of<'a>(durations: impl Iterator<Item = &'a Vec<u64>>) -> Self {
        let mut all = Vec::new();
        for of_one in durations {
            add(&mut all, of_one);
        }
        Self {
            p50: quantile(&all, &SECONDS_BUCKETS, 0.50),
            p95: quantile(&all, &SECONDS_BUCKETS, 0.95),
            p99: quantile(&all, &SECONDS_BUCKETS, 0.99),
        }
    }
}

impl DropFigures {
    /// `reports` are those of all products on all nodes.
    fn of(facts: &Facts, reports: &[&ProductReport]) -> Self {
        let product = &facts.product;
        let own: Vec<&ProductReport> = reports
            .iter()
            .copied()
            .filter(|report| report.sku == product.sku)
            .collect();
        let sum = |count: fn(&ProductReport) -> Count| {
            let counts = own.iter().map(|report| count(report));
            counts.fold(Count::default(), Count::plus)
        };
        let total = |count: fn(&ProductReport) -> u64| own.iter().map(|report| count(report)).sum();
        let speed: f64 = own.iter().map(|report| report.units_of_window).sum();
        let for_sale = product.for_sale();
        let is_selling = for_sale > 0 && speed > 0.0;
        Self {
            id: product.id,
            sku: product.sku.clone(),
            name: product.name.clone(),
            published: product.published,
            starts_at: product.starts_at,
            ends_at: product.ends_at,
            stock_total: product.stock.total,
            stock: product.stock.on_hand,
            for_sale,
            sold: product.stock.total - product.stock.on_hand,
            waitlist: facts.waiting,
            sells_out_in: is_selling.then(|| f64::from(for_sale) / speed),
            sold_out_in: facts.sold_out_in.map(|took| took.as_secs_f64()),
            orders: sum(|report| report.orders),
            units: sum(|report| report.units),
            waitlisted: sum(|report| report.waitlisted),
            refused: sum(|report| report.refused),
            lock: Contention {
                acquired: sum(|report| report.acquired),
                busy: sum(|report| report.busy),
                bypassed: total(|report| report.bypassed),
                fence_rejected: total(|report| report.fenced),
                wait_p95: {
                    let mut waits = Vec::new();
                    for report in &own {
                        add(&mut waits, &report.lock_waits);
                    }
                    quantile(&waits, &LOCK_BUCKETS, 0.95)
                },
            },
            batch_orders: mean_batch(&own),
            queue: total(|report| report.queue),
        }
    }
}

/// Commands of a batch in the window.
fn mean_batch(products: &[&ProductReport]) -> Option<f64> {
    let batches: u64 = products.iter().map(|product| product.batches).sum();
    let commands: u64 = products.iter().map(|product| product.commands).sum();
    (batches > 0).then(|| float(commands) / float(batches))
}

fn answers(reports: &[&Report]) -> BTreeMap<String, Count> {
    let mut answers: BTreeMap<String, Count> = BTreeMap::new();
    for (outcome, count) in reports.iter().flat_map(|report| &report.answers) {
        let sum = answers.entry(outcome.clone()).or_default();
        *sum = sum.plus(*count);
    }
    answers
}

fn nodes(parts: &Parts<'_>) -> Vec<Node> {
    let node = |report: &Report, own: bool, silent: Duration| Node {
        id: report.identity.node,
        name: report.identity.name.clone(),
        version: report.identity.version.clone(),
        own,
        uptime_seconds: report.uptime_seconds,
        silent_seconds: (silent >= parts.silent_after).then_some(silent.as_secs()),
        orders: report.answers.get("created").copied().unwrap_or_default(),
        latency: Latency::of(std::iter::once(&report.durations)),
        in_flight: report.in_flight,
        connections: report.connections,
        queue: report.products.iter().map(|product| product.queue).sum(),
        lock: report.lock,
    };
    let others = parts.others.iter();
    std::iter::once(node(parts.own, true, Duration::ZERO))
        .chain(others.map(|(report, silent)| node(report, false, *silent)))
        .collect()
}

/// The newest log lines of all nodes, newest first.
fn faults(reports: &[&Report]) -> Vec<NodeFault> {
    let of_one = |report: &&Report| {
        let node = report.identity.name.clone();
        let faults = report.faults.iter().cloned();
        let named = faults.map(|fault| NodeFault {
            node: node.clone(),
            fault,
        });
        named.collect::<Vec<_>>()
    };
    let mut faults: Vec<NodeFault> = reports.iter().flat_map(of_one).collect();
    faults.sort_by_key(|fault| std::cmp::Reverse(fault.fault.at));
    faults.truncate(KEPT_MAX);
    faults
}
