//! Reads `/metrics` of all nodes and sums them.

use test_support::metrics::Metrics;

use crate::{
    client::Address,
    report::{Batches, Lock},
    shop::Api,
};

/// The metrics of all nodes, summed.
#[derive(Clone, Debug, Default)]
pub(crate) struct Figures(Metrics);

impl Figures {
    /// `None` if a node does not answer.
    pub(crate) async fn read(operations: &[Address]) -> Option<Self> {
        if operations.is_empty() {
            return None;
        }
        let mut sum = Self::default();
        for address in operations {
            let mut api = Api::new(address.clone());
            let response = api.call(("GET", "/metrics"), None, None).await.ok()?;
            sum.add(&String::from_utf8_lossy(&response.body));
        }
        Some(sum)
    }

    fn add(&mut self, text: &str) {
        self.0.add(Metrics::parse(text));
    }

    /// The sum of all samples of this name with these labels.
    pub(crate) fn sum(&self, name: &str, labels: &[(&str, &str)]) -> f64 {
        self.0.value(name, labels).unwrap_or_default()
    }

    /// Whether the metric exists.
    pub(crate) fn has(&self, name: &str) -> bool {
        self.0.value(name, &[]).is_some()
    }

    /// Increase of the lock's counters since `before`.
    pub(crate) fn lock_since(&self, before: &Self) -> Lock {
        let grown = |name: &str, labels: &[(&str, &str)]| {
            whole(self.sum(name, labels) - before.sum(name, labels))
        };
        let acquire = |outcome: &str| {
            let labels = [("outcome", outcome)];
            grown("flash_sale_lock_acquire_total", &labels)
        };
        Lock {
            known: true,
            acquired: acquire("acquired"),
            busy: acquire("busy"),
            no_quorum: acquire("no_quorum"),
            error: acquire("error"),
            lost: grown("flash_sale_lock_lost_total", &[]),
            fence_rejected: grown("flash_sale_fence_rejected_total", &[]),
            bypassed: grown("flash_sale_lock_bypassed_total", &[]),
        }
    }

    /// Batch sizes since `before`.
    pub(crate) fn batches_since(&self, before: &Self) -> Batches {
        const NAME: &str = "flash_sale_batch_orders";
        let grown = |suffix: &str, labels: &[(&str, &str)]| {
            let name = format!("{NAME}{suffix}");
            self.sum(&name, labels) - before.sum(&name, labels)
        };
        let count = grown("_count", &[]);
        if count < 1.0 {
            return Batches::default();
        }
        let percentile = |share: f64| {
            let within =
                |bound: &&f64| grown("_bucket", &[("le", &bound.to_string())]) >= count * share;
            let bounds = flash_sale::metrics::BATCH_BUCKETS;
            bounds.iter().find(within).copied().unwrap_or(f64::INFINITY)
        };
        Batches {
            count: whole(count),
            mean: grown("_sum", &[]) / count,
            p50: percentile(0.5),
            p99: percentile(0.99),
        }
    }

    /// CPU seconds that the nodes have used.
    pub(crate) fn cpu_seconds(&self) -> f64 {
        self.sum("process_cpu_seconds_total", &[])
    }

    /// Whether any node works without a majority of lock nodes.
    pub(crate) fn lock_degraded(&self) -> bool {
        self.sum("flash_sale_lock_degraded", &[]) > 0.5
    }

    /// Whether any node found that the database only reads.
    pub(crate) fn database_only_reads(&self) -> bool {
        self.sum("flash_sale_db_only_reads", &[]) > 0.5
    }
}

/// A counter as an integer.
#[expect(
    clippy::as_conversions,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "counters are whole numbers from zero, and a cast saturates"
)]
pub(crate) fn whole(value: f64) -> u64 {
    value.round() as u64
}

/// A count as a float.
#[expect(
    clippy::as_conversions,
    clippy::cast_precision_loss,
    reason = "counts stay far below 2^53"
)]
pub(crate) fn real(count: u64) -> f64 {
    count as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counters_are_summed_over_labels_and_compared() {
        let mut before = Figures::default();
        before.add("# HELP x\nflash_sale_lock_acquire_total{product=\"a\",outcome=\"busy\"} 2\n");
        let mut after = before.clone();
        after.add(
            "flash_sale_lock_acquire_total{product=\"a\",outcome=\"busy\"} 3\n\
             flash_sale_lock_acquire_total{product=\"b\",outcome=\"acquired\"} 7\n\
             flash_sale_batch_orders_bucket{product=\"a\",le=\"1\"} 1\n\
             flash_sale_batch_orders_bucket{product=\"a\",le=\"2\"} 4\n\
             flash_sale_batch_orders_count{product=\"a\"} 4\n\
             flash_sale_batch_orders_sum{product=\"a\"} 7\n",
        );
        let lock = after.lock_since(&before);
        assert_eq!((lock.busy, lock.acquired, lock.lost), (3, 7, 0));
        let batches = after.batches_since(&before);
        assert_eq!(batches.count, 4);
        assert!((batches.p50 - 2.0).abs() < 0.1);
    }
}
