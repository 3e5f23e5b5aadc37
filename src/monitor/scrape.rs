//! One reading of the service's own metrics: the Prometheus text that `/metrics` serves, cut down
//! to what the monitor shows. The hot path is not asked and takes no lock for it.

use std::{
    collections::{BTreeMap, HashMap},
    time::Instant,
};

use crate::metrics::SECONDS_BUCKETS;

/// Metrics at one moment.
#[derive(Debug)]
pub(super) struct Scrape {
    pub(super) at: Instant,
    /// Answered order requests by outcome.
    pub(super) answers: BTreeMap<String, u64>,
    /// Durations of order requests.
    pub(super) durations: Buckets,
    /// By sku.
    pub(super) products: HashMap<String, Counters>,
    pub(super) in_flight: u64,
    pub(super) connections: u64,
}

/// The counters of one product.
#[derive(Clone, Debug, Default)]
pub(super) struct Counters {
    pub(super) orders: u64,
    pub(super) waitlisted: u64,
    pub(super) refused: u64,
    pub(super) units: u64,
    pub(super) acquired: u64,
    pub(super) busy: u64,
    pub(super) bypassed: u64,
    pub(super) fenced: u64,
    pub(super) lock_waits: Buckets,
    pub(super) batches: u64,
    pub(super) commands: u64,
    pub(super) queue: u64,
}

/// A histogram of seconds: observations up to each bound of `SECONDS_BUCKETS`, and all.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Buckets([u64; SECONDS_BUCKETS.len() + 1]);

impl Buckets {
    /// Adds what a line of the text says about one bound.
    fn add(&mut self, le: &str, count: u64) {
        let bound: Option<f64> = le.parse().ok();
        let place = bound.and_then(|bound| {
            let is_bound = |known: &f64| (known - bound).abs() < f64::EPSILON;
            SECONDS_BUCKETS.iter().position(is_bound)
        });
        if let Some(total) = self.0.get_mut(place.unwrap_or(SECONDS_BUCKETS.len())) {
            *total += count;
        }
    }

    /// Observations in each bucket since an earlier reading.
    pub(super) fn since(&self, earlier: &Self) -> Vec<u64> {
        let mut below = 0;
        let grown = self.0.iter().zip(earlier.0);
        grown
            .map(|(now, then)| {
                let up_to = now.saturating_sub(then);
                let inside = up_to.saturating_sub(below);
                below = below.max(up_to);
                inside
            })
            .collect()
    }
}

impl Scrape {
    pub(super) fn parse(text: &str, at: Instant) -> Self {
        let mut scrape = Self {
            at,
            answers: BTreeMap::new(),
            durations: Buckets::default(),
            products: HashMap::new(),
            in_flight: 0,
            connections: 0,
        };
        for line in text.lines().filter(|line| !line.starts_with('#')) {
            scrape.read(line);
        }
        scrape
    }

    fn read(&mut self, line: &str) {
        let Some((series, value)) = line.rsplit_once(' ') else {
            return;
        };
        let (name, labels) = series.split_once('{').unwrap_or((series, ""));
        let Some(name) = name.strip_prefix("flash_sale_") else {
            return;
        };
        match name {
            "order_duration_seconds_bucket" => {
                let le = label(labels, "le").unwrap_or_default();
                self.durations.add(&le, whole(value));
            }
            "http_in_flight" => self.in_flight = whole(value),
            "connections" if labels.contains("\"api\"") => self.connections = whole(value),
            _ => self.read_product(name, labels, value),
        }
    }

    fn read_product(&mut self, name: &str, labels: &str, value: &str) {
        let read: fn(&mut Counters, &str, u64) = match name {
            "orders_total" => {
                if let Some(outcome) = label(labels, "outcome") {
                    *self.answers.entry(outcome).or_default() += whole(value);
                }
                |counters, labels, value| counters.answer(labels, value)
            }
            "lock_acquire_total" => |counters, labels, value| counters.attempt(labels, value),
            "lock_wait_seconds_bucket" => |counters, labels, value| {
                let le = label(labels, "le").unwrap_or_default();
                counters.lock_waits.add(&le, value);
            },
            "order_units_total" => |counters, _, value| counters.units = value,
            "lock_bypassed_total" => |counters, _, value| counters.bypassed = value,
            "fence_rejected_total" => |counters, _, value| counters.fenced = value,
            "batch_orders_count" => |counters, _, value| counters.batches = value,
            "batch_orders_sum" => |counters, _, value| counters.commands = value,
            "lane_queue" => |counters, _, value| counters.queue = value,
            _ => return,
        };
        if let Some(sku) = label(labels, "product") {
            read(self.products.entry(sku).or_default(), labels, whole(value));
        }
    }
}

impl Counters {
    fn answer(&mut self, labels: &str, value: u64) {
        match label(labels, "outcome").as_deref() {
            Some("created") => self.orders = value,
            Some("waitlisted") => self.waitlisted = value,
            Some("replayed") | None => {}
            Some(_) => self.refused += value,
        }
    }

    fn attempt(&mut self, labels: &str, value: u64) {
        match label(labels, "outcome").as_deref() {
            Some("acquired") => self.acquired = value,
            Some("busy") => self.busy = value,
            Some(_) | None => {}
        }
    }
}

/// The whole part of a value; gauges below 0 count as 0.
fn whole(value: &str) -> u64 {
    let digits = value.split('.').next().unwrap_or_default();
    digits.parse().unwrap_or_default()
}

/// The value of a label in `name="value",…}`, with its escapes resolved.
fn label(labels: &str, name: &str) -> Option<String> {
    let mut rest = labels;
    loop {
        let (found, after) = rest.split_once("=\"")?;
        let mut value = String::new();
        let mut letters = after.char_indices();
        let end = loop {
            match letters.next()? {
                (end, '"') => break end,
                (_, '\\') => match letters.next()?.1 {
                    'n' => value.push('\n'),
                    other => value.push(other),
                },
                (_, letter) => value.push(letter),
            }
        };
        if found == name {
            return Some(value);
        }
        rest = after.get(end + 1..)?.trim_start_matches(',');
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = r#"# TYPE flash_sale_orders_total counter
flash_sale_orders_total{product="a",outcome="created"} 7
flash_sale_orders_total{product="a",outcome="sold_out"} 5
flash_sale_orders_total{product="b\"},{=\\\n",outcome="created"} 2
flash_sale_lane_queue{product="a"} 3.5
flash_sale_connections{listener="operations"} 9
flash_sale_connections{listener="api"} 4
flash_sale_order_duration_seconds_bucket{outcome="created",le="0.001"} 2
flash_sale_order_duration_seconds_bucket{outcome="sold_out",le="0.001"} 1
flash_sale_order_duration_seconds_bucket{outcome="created",le="+Inf"} 4
process_open_fds 12
"#;

    #[test]
    fn the_text_is_read_with_the_escapes_of_its_labels() {
        let scrape = Scrape::parse(TEXT, Instant::now());

        assert_eq!(scrape.answers["created"], 9);
        assert_eq!(scrape.products["a"].orders, 7);
        assert_eq!(scrape.products["a"].refused, 5);
        assert_eq!(scrape.products["a"].queue, 3);
        assert_eq!(scrape.products["b\"},{=\\\n"].orders, 2);
        assert_eq!(scrape.connections, 4);
        let counts = scrape.durations.since(&Buckets::default());
        assert_eq!(counts.iter().sum::<u64>(), 4);
        assert_eq!(counts[3], 3, "{counts:?}");
    }
}
