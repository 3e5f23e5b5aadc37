//! What one node says about itself: rates and totals made from its last scrapes. Nodes exchange
//! these reports, and a report is small whatever the node has done: at most `PRODUCTS_MAX` products.

use std::{
    collections::{BTreeMap, VecDeque},
    time::Duration,
};

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::scrape::{Buckets, Counters, Scrape};
use crate::{lock, metrics::SECONDS_BUCKETS, telemetry::faults::Fault};

/// Percentiles, batches and lock waits are those of this time.
pub(super) const WINDOW: Duration = Duration::from_secs(5);
/// The products that a report names: those with the most requests.
pub(super) const PRODUCTS_MAX: usize = 50;

/// Who reports.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Identity {
    pub(super) node: Uuid,
    /// Host and port of its API.
    pub(super) name: String,
    pub(super) version: String,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Report {
    pub(super) identity: Identity,
    /// Whether this node has viewers, so that the others report too.
    pub(super) watches: bool,
    pub(super) uptime_seconds: u64,
    /// By outcome.
    pub(super) answers: BTreeMap<String, Count>,
    /// Order requests of the window in each bucket of duration.
    pub(super) durations: Vec<u64>,
    pub(super) in_flight: u64,
    pub(super) connections: u64,
    pub(super) lock: LockState,
    pub(super) products: Vec<ProductReport>,
    pub(super) faults: Vec<Fault>,
}

/// A counter, and how fast it grew during the last second.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Count {
    pub(super) total: u64,
    pub(super) per_second: f64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct LockState {
    /// 0 for the in-process lock.
    pub(super) nodes: usize,
    pub(super) healthy: usize,
    pub(super) degraded: bool,
}

impl From<lock::Health> for LockState {
    fn from(health: lock::Health) -> Self {
        Self {
            nodes: health.nodes,
            healthy: health.healthy,
            degraded: !health.has_quorum(),
        }
    }
}

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(super) struct ProductReport {
    pub(super) sku: String,
    pub(super) orders: Count,
    pub(super) units: Count,
    /// Units sold during the window, for the time to sell out.
    pub(super) units_of_window: f64,
    pub(super) waitlisted: Count,
    pub(super) refused: Count,
    pub(super) acquired: Count,
    pub(super) busy: Count,
    pub(super) bypassed: u64,
    pub(super) fenced: u64,
    /// Lock waits of the window in each bucket.
    pub(super) lock_waits: Vec<u64>,
    /// Batches of the window, and their commands.
    pub(super) batches: u64,
    pub(super) commands: u64,
    pub(super) queue: u64,
}

impl ProductReport {
    fn has_requests(&self) -> bool {
        let counts = [self.orders, self.waitlisted, self.refused];
        counts.iter().any(|count| count.total > 0)
    }
}

impl Count {
    pub(super) fn plus(self, other: Self) -> Self {
        Self {
            total: self.total.saturating_add(other.total),
            per_second: self.per_second + other.per_second,
        }
    }
}

/// The scrapes that a report needs: the newest, the one before it, the oldest of the window.
struct Span<'a> {
    newest: &'a Scrape,
    previous: &'a Scrape,
    oldest: &'a Scrape,
}

/// What the scrapes say, oldest first; `None` without any.
pub(super) fn of(scrapes: &VecDeque<Scrape>, identity: Identity) -> Option<Report> {
    let newest = scrapes.back()?;
    let before = scrapes.len().checked_sub(2).and_then(|at| scrapes.get(at));
    let span = Span {
        newest,
        previous: before.unwrap_or(newest),
        oldest: scrapes.front()?,
    };
    let answers = newest.answers.iter().map(|(outcome, total)| {
        let then = span.previous.answers.get(outcome).copied();
        (
            outcome.clone(),
            span.count(*total, then.unwrap_or_default()),
        )
    });
    Some(Report {
        identity,
        watches: false,
        uptime_seconds: 0,
        answers: answers.collect(),
        durations: newest.durations.since(&span.oldest.durations),
        in_flight: newest.in_flight,
        connections: newest.connections,
        lock: LockState {
            nodes: 0,
            healthy: 0,
            degraded: false,
        },
        products: span.products(),
        faults: Vec::new(),
    })
}

/// The skus of the products that the nodes put first, at most `max`: the first of each node before
/// the second of any.
pub(super) fn busiest<'a>(reports: impl Iterator<Item = &'a Report>, max: usize) -> Vec<String> {
    let mut ranked: Vec<(usize, &str)> = reports
        .flat_map(|report| report.products.iter().enumerate())
        .filter(|(_, product)| product.has_requests())
        .map(|(rank, product)| (rank, product.sku.as_str()))
        .collect();
    ranked.sort_unstable();
    let mut skus: Vec<String> = Vec::new();
    for (_, sku) in ranked {
        if skus.len() < max && !skus.iter().any(|known| known == sku) {
            skus.push(sku.to_owned());
        }
    }
    skus
}

impl Span<'_> {
    fn count(&self, now: u64, then: u64) -> Count {
        Count {
            total: now,
            per_second: per_second(now.saturating_sub(then), self.newest.at - self.previous.at),
        }
    }

    /// The products with the most requests, those of the window before all others.
    fn products(&self) -> Vec<ProductReport> {
        let mut products: Vec<_> = self.newest.products.iter().collect();
        let requests =
            |counters: &Counters| counters.orders + counters.waitlisted + counters.refused;
        products.sort_by_cached_key(|(sku, now)| {
            let all = requests(now);
            let then = self.oldest.products.get(*sku).map_or(0, requests);
            std::cmp::Reverse((all.saturating_sub(then), all))
        });
        products.truncate(PRODUCTS_MAX);
        let reports = products.into_iter().map(|(sku, now)| {
            // A product that an earlier scrape lacks had counted nothing.
            let none = Counters::default();
            let then = self.previous.products.get(sku).unwrap_or(&none);
            let oldest = self.oldest.products.get(sku).unwrap_or(&none);
            self.product(sku, now, [then, oldest])
        });
        reports.collect()
    }

    fn product(&self, sku: &str, now: &Counters, [then, oldest]: [&Counters; 2]) -> ProductReport {
        let window = self.newest.at - self.oldest.at;
        ProductReport {
            sku: sku.to_owned(),
            orders: self.count(now.orders, then.orders),
            units: self.count(now.units, then.units),
            units_of_window: per_second(now.units.saturating_sub(oldest.units), window),
            waitlisted: self.count(now.waitlisted, then.waitlisted),
            refused: self.count(now.refused, then.refused),
            acquired: self.count(now.acquired, then.acquired),
            busy: self.count(now.busy, then.busy),
            bypassed: now.bypassed,
            fenced: now.fenced,
            lock_waits: now.lock_waits.since(&oldest.lock_waits),
            batches: now.batches.saturating_sub(oldest.batches),
            commands: now.commands.saturating_sub(oldest.commands),
            queue: now.queue,
        }
    }
}

fn per_second(count: u64, took: Duration) -> f64 {
    if took.is_zero() {
        return 0.0;
    }
    float(count) / took.as_secs_f64()
}

/// Counts of seconds and of products fit into 32 bits; a larger one is shown as the largest.
pub(super) fn float(count: u64) -> f64 {
    f64::from(u32::try_from(count).unwrap_or(u32::MAX))
}

/// The duration, in milliseconds, that a share `quantile` of the observations did not exceed, as
/// `histogram_quantile` of Prometheus estimates it; `None` without observations. `bounds` are those of
/// `SECONDS_BUCKETS` that the histogram has.
pub(super) fn quantile(buckets: &[u64], bounds: &[f64], quantile: f64) -> Option<f64> {
    let all: u64 = buckets.iter().sum();
    if all == 0 {
        return None;
    }
    let rank = float(all) * quantile;
    let (mut below, mut lower) = (0.0, 0.0);
    let counts = buckets.iter().zip(SECONDS_BUCKETS);
    for (count, upper) in counts.filter(|(_, upper)| bounds.contains(upper)) {
        let inside = float(*count);
        if inside > 0.0 && below + inside >= rank {
            return Some(1_000.0 * (lower + (upper - lower) * (rank - below) / inside));
        }
        below += inside;
        lower = upper;
    }
    Some(1_000.0 * lower)
}

/// Adds the observations of another node.
pub(super) fn add(total: &mut Vec<u64>, more: &[u64]) {
    total.resize(
        total
            .len()
            .max(Buckets::default().since(&Buckets::default()).len()),
        0,
    );
    for (sum, count) in total.iter_mut().zip(more) {
        *sum = sum.saturating_add(*count);
    }
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::*;
    use crate::metrics::LOCK_BUCKETS;

    fn identity() -> Identity {
        Identity {
            node: Uuid::nil(),
            name: "shop:8080".to_owned(),
            version: "1".to_owned(),
        }
    }

    #[test]
    fn rates_are_of_the_last_second_and_windows_of_all_scrapes() {
        let start = Instant::now();
        let scrape = |second: u64, orders: u64| {
            let text = format!(
                "flash_sale_orders_total{{product=\"a\",outcome=\"created\"}} {orders}\n\
                 flash_sale_order_units_total{{product=\"a\"}} {orders}\n"
            );
            Scrape::parse(&text, start + Duration::from_secs(second))
        };
        let scrapes = VecDeque::from([scrape(0, 10), scrape(1, 10), scrape(2, 50)]);

        let report = of(&scrapes, identity()).unwrap();

        let created = report.answers["created"];
        assert_eq!(created.total, 50);
        assert!((created.per_second - 40.0).abs() < 1e-9, "{created:?}");
        let speed = report.products[0].units_of_window;
        assert!((speed - 20.0).abs() < 1e-9, "{speed}");
    }

    #[test]
    fn a_quantile_lies_inside_its_bucket() {
        let mut buckets = vec![0; SECONDS_BUCKETS.len() + 1];
        assert_eq!(quantile(&buckets, &SECONDS_BUCKETS, 0.5), None);
        buckets[3] = 100;
        let median = quantile(&buckets, &SECONDS_BUCKETS, 0.5).unwrap();
        assert!((median - 0.75).abs() < 1e-9, "{median}");
        buckets[4] = 100;
        let upper = quantile(&buckets, &SECONDS_BUCKETS, 0.75).unwrap();
        assert!((upper - 1.75).abs() < 1e-9, "{upper}");
        buckets[SECONDS_BUCKETS.len()] = 100;
        assert_eq!(quantile(&buckets, &SECONDS_BUCKETS, 0.99), Some(5_000.0));
    }

    #[test]
    fn a_quantile_of_lock_waits_lies_between_the_bounds_that_they_have() {
        assert!(
            LOCK_BUCKETS
                .iter()
                .all(|bound| SECONDS_BUCKETS.contains(bound))
        );
        let mut buckets = vec![0; SECONDS_BUCKETS.len() + 1];
        // Up to 0.5 ms, below which the lock's histograms have no bound.
        buckets[2] = 100;
        let median = quantile(&buckets, &LOCK_BUCKETS, 0.5).unwrap();
        assert!((median - 0.25).abs() < 1e-9, "{median}");
    }
}
