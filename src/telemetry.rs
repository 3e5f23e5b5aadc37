//! Installs logging and the Prometheus recorder, once per process; the ids of requests and their traces.

use std::{
    backtrace::Backtrace, backtrace::BacktraceStatus, io::IsTerminal, panic::PanicHookInfo,
    time::Duration,
};

use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle};
use tokio::runtime::Handle;
use tokio_metrics::{RuntimeIntervals, RuntimeMetrics, RuntimeMonitor};
use tracing_subscriber::{EnvFilter, fmt, layer::SubscriberExt, util::SubscriberInitExt};

use crate::{config::LogFormat, metrics};

pub mod faults;
mod lines;
pub mod open_metrics;
pub mod output;
pub mod request;
pub mod sample;
pub mod traces;

/// Logs to standard error; standard output is for the commands' results. Panics are logged too.
pub fn log(format: LogFormat, filter: &str) -> anyhow::Result<()> {
    let filter = EnvFilter::try_new(filter)?;
    let registry = tracing_subscriber::registry()
        .with(filter)
        .with(faults::Keep);
    let layer = fmt::layer().with_writer(|| output::Lines);
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
    output::start()?;
    std::panic::set_hook(Box::new(log_panic));
    Ok(())
}

/// A panic as a line like the others: of the request that it ends, and an object where lines are. The
/// standard hook writes lines of its own, and waits for their reader.
fn log_panic(panic: &PanicHookInfo<'_>) {
    let message = panic.payload_as_str().unwrap_or("unknown");
    let place = panic.location().map(ToString::to_string);
    let backtrace = Backtrace::capture();
    let captured = backtrace.status() == BacktraceStatus::Captured;
    let backtrace = captured.then(|| tracing::field::display(&backtrace));
    tracing::error!(place, backtrace, "panic: {message}");
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

#[cfg(test)]
mod tests {
    use std::{panic, sync::Arc, thread};

    use parking_lot::Mutex;
    use tracing::{Event, Subscriber, field::Visit};
    use tracing_subscriber::{Layer, layer::Context};

    use super::*;
    use crate::domain::TraceContext;

    /// The fields of the events, and the request that they belong to.
    #[derive(Clone, Default)]
    struct Seen(Arc<Mutex<Vec<String>>>);

    impl<S: Subscriber> Layer<S> for Seen {
        fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
            let request = request::with_ids(|ids| ids.request().to_owned());
            let mut fields = Fields(format!("{request:?}"));
            event.record(&mut fields);
            self.0.lock().push(fields.0);
        }
    }

    struct Fields(String);

    impl Visit for Fields {
        fn record_debug(&mut self, field: &tracing::field::Field, value: &dyn std::fmt::Debug) {
            self.0 = format!("{} {field}={value:?}", self.0);
        }
    }

    #[test]
    fn a_panic_is_a_line_of_its_request() {
        let (seen, own) = (Seen::default(), thread::current().id());
        let subscriber = tracing_subscriber::registry().with(seen.clone());
        let others = panic::take_hook();
        panic::set_hook(Box::new(move |panic| {
            if thread::current().id() == own {
                log_panic(panic);
            } else {
                others(panic);
            }
        }));
        let trace = TraceContext {
            trace_id: 1,
            span_id: 2,
            is_sampled: false,
        };
        let ids = request::Ids::of_caller("call-1", trace);
        tracing::subscriber::with_default(subscriber, || {
            let broken = || request::on_behalf_of(ids, || panic!("it broke"));
            assert!(panic::catch_unwind(panic::AssertUnwindSafe(broken)).is_err());
        });
        let seen = seen.0.lock();
        assert_eq!(seen.len(), 1, "{seen:?}");
        let line = &seen[0];
        assert!(
            line.contains("call-1") && line.contains("it broke"),
            "{line}"
        );
        assert!(line.contains("place=\"src/telemetry.rs"), "{line}");
    }
}
