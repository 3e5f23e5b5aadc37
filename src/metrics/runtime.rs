//! Metrics of the Tokio runtimes, named as Prometheus names metrics: base units, counters in
//! `_total`, shares from 0 to 1.

use metrics::{Counter, Gauge, counter, describe_counter, describe_gauge, gauge};

pub(super) fn init() {
    describe_gauge!("tokio_workers", "Worker threads of the runtime.");
    describe_gauge!(
        "tokio_tasks",
        "Tasks of the runtime that have not ended: running and waiting ones."
    );
    describe_gauge!(
        "tokio_global_queue_tasks",
        "Tasks in the runtime's global queue, which wait for a worker thread."
    );
    describe_gauge!(
        "tokio_busy_ratio",
        "Share of the last second that the runtime's worker threads worked, on average."
    );
    describe_gauge!(
        "tokio_busiest_worker_ratio",
        "The same of the worker thread that worked most: 1 on one thread means that something blocks it."
    );
    describe_counter!(
        "tokio_parks_total",
        "Times that a worker thread of the runtime had nothing to do and went to sleep."
    );
}

/// The metric handles of one runtime.
pub struct Runtime {
    name: &'static str,
    pub workers: Gauge,
    pub tasks: Gauge,
    pub queued: Gauge,
    pub busy: Gauge,
    pub busiest: Gauge,
    pub parks: Counter,
}

impl std::fmt::Debug for Runtime {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Runtime")
            .field("name", &self.name)
            .finish_non_exhaustive()
    }
}

impl Runtime {
    pub fn of(name: &'static str) -> Self {
        Self {
            name,
            workers: gauge!("tokio_workers", "runtime" => name),
            tasks: gauge!("tokio_tasks", "runtime" => name),
            queued: gauge!("tokio_global_queue_tasks", "runtime" => name),
            busy: gauge!("tokio_busy_ratio", "runtime" => name),
            busiest: gauge!("tokio_busiest_worker_ratio", "runtime" => name),
            parks: counter!("tokio_parks_total", "runtime" => name),
        }
    }
}
