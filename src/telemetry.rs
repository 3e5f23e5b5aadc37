//! Installs logging and the Prometheus recorder, once per process; the ids of requests and their traces.

use std::{io::IsTerminal, time::Duration};

use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle};
use tokio::runtime::Handle;
use tokio_metrics::{RuntimeIntervals, RuntimeMetrics, RuntimeMonitor};
use tracing_subscriber::{EnvFilter, fmt, layer::SubscriberExt, util::SubscriberInitExt};

use crate::{config::LogFormat, metrics};

pub mod faults;
mod lines;
pub mod open_metrics;
pub mod request;
pub mod sample;
pub mod traces;

/// Logs to standard error; standard output is for the commands' results.
pub fn log(format: LogFormat, filter: &str) -> anyhow::Result<()> {
    let filter = EnvFilter::try_new(filter)?;
    let registry = tracing_subscriber::registry()
        .with(filter)
        .with(faults::Keep);
    let layer = fmt::layer().with_writer(std::io::stderr);
    let form = fmt::format();
    match format {
        LogFormat::Text => {
            let colours = std::io::stderr().is_terminal();
            let lines = lines::Text(form.with_ansi(colours));
            let layer = layer.with_ansi(colours).event_format(lines);
            registry.with(layer).try_init()?;
        }
        LogFormat::Json => {
            let objects = lines::Object(form.json());
            let layer = layer.json().event_format(objects);
            registry.with(layer).try_init()?;
        }
    }
    Ok(())
}

/// Installs the recorder. Every histogram gets buckets: without them it becomes a summary, which
/// cannot be aggregated over nodes.
pub fn record(products_max: u32) -> anyhow::Result<PrometheusHandle> {
    let handle = PrometheusBuilder::new()
        .set_buckets(&metrics::SECONDS_BUCKETS)?
        .set_buckets_for_metric(
            Matcher::Prefix(metrics::LOCK.to_owned()),
            &metrics::LOCK_BUCKETS,
        )?
        .set_buckets_for_metric(
            Matcher::Full(metrics::BATCH_ORDERS.to_owned()),
            &metrics::BATCH_BUCKETS,
        )?
        .install_recorder()?;
    metrics::init(usize::try_from(products_max)?);
    Ok(handle)
}

/// Periodic maintenance of the metrics.
#[derive(Debug)]
pub struct Upkeep {
    recorder: PrometheusHandle,
    process: metrics_process::Collector,
    runtimes: Vec<(RuntimeIntervals, metrics::runtime::Runtime)>,
}

impl Upkeep {
    /// Takes the runtimes to measure, by name.
    pub fn new(recorder: PrometheusHandle, runtimes: &[(&'static str, &Handle)]) -> Self {
        let process = metrics_process::Collector::default();
        process.describe();
        let runtimes = runtimes.iter().map(|(name, handle)| {
            let intervals = RuntimeMonitor::new(handle).intervals();
            (intervals, metrics::runtime::Runtime::of(name))
        });
        Self {
            recorder,
            process,
            runtimes: runtimes.collect(),
        }
    }

    /// Folds histograms, which grow without bound otherwise, and reads process and runtime metrics.
    pub fn run_once(&mut self) {
        self.recorder.run_upkeep();
        self.process.collect();
        for (intervals, metrics) in &mut self.runtimes {
            if let Some(interval) = intervals.next() {
                report(&interval, metrics);
            }
        }
    }
}

/// Not with the crate's own reporter, whose names Prometheus's conventions refuse: counters of
/// microseconds, gauges that only grow, a ratio above 1.
fn report(interval: &RuntimeMetrics, metrics: &metrics::runtime::Runtime) {
    let number = |value: usize| u32::try_from(value).unwrap_or(u32::MAX);
    let workers = number(interval.workers_count);
    metrics.workers.set(workers);
    metrics.tasks.set(number(interval.live_tasks_count));
    metrics.queued.set(number(interval.global_queue_depth));
    metrics.parks.increment(interval.total_park_count);
    let elapsed = interval.elapsed.as_secs_f64();
    if elapsed > 0.0 && workers > 0 {
        let share = |busy: Duration| busy.as_secs_f64() / elapsed;
        let busy = share(interval.total_busy_duration) / f64::from(workers);
        metrics.busy.set(busy);
        metrics.busiest.set(share(interval.max_busy_duration));
    }
}
