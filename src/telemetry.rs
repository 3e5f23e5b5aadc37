//! Installs logging and the Prometheus recorder, once per process.

use std::io::IsTerminal;

use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle};
use tokio::runtime::Handle;
use tracing_subscriber::{EnvFilter, fmt, layer::SubscriberExt, util::SubscriberInitExt};

use crate::{config::LogFormat, metrics};

pub mod faults;

/// Logs to standard error; standard output is for the commands' results.
pub fn log(format: LogFormat, filter: &str) -> anyhow::Result<()> {
    let filter = EnvFilter::try_new(filter)?;
    let registry = tracing_subscriber::registry()
        .with(filter)
        .with(faults::Keep);
    match format {
        LogFormat::Text => registry
            .with(
                fmt::layer()
                    .with_ansi(std::io::stderr().is_terminal())
                    .with_writer(std::io::stderr),
            )
            .try_init()?,
        LogFormat::Json => registry
            .with(fmt::layer().json().with_writer(std::io::stderr))
            .try_init()?,
    }
    Ok(())
}

/// Installs the recorder. Every histogram gets buckets: without them it becomes a summary, which
/// cannot be aggregated over nodes.
pub fn record(products_max: usize) -> anyhow::Result<PrometheusHandle> {
    let handle = PrometheusBuilder::new()
        .set_buckets(&metrics::SECONDS_BUCKETS)?
        .set_buckets_for_metric(
            Matcher::Full(metrics::BATCH_ORDERS.to_owned()),
            &metrics::BATCH_BUCKETS,
        )?
        .install_recorder()?;
    metrics::init(products_max);
    Ok(handle)
}

/// Periodic maintenance of the metrics.
#[derive(Debug)]
pub struct Upkeep {
    recorder: PrometheusHandle,
    process: metrics_process::Collector,
    runtimes: Vec<tokio_metrics::RuntimeMetricsReporter>,
}

impl Upkeep {
    /// Takes the runtimes to measure, by name.
    pub fn new(recorder: PrometheusHandle, runtimes: &[(&'static str, &Handle)]) -> Self {
        let process = metrics_process::Collector::default();
        process.describe();
        let reporter = |(name, handle): &(&'static str, &Handle)| {
            let name = *name;
            tokio_metrics::RuntimeMetricsReporterBuilder::default()
                .with_metrics_transformer(move |metric| {
                    ::metrics::Key::from_parts(metric, vec![::metrics::Label::new("runtime", name)])
                })
                .build_with_monitor(tokio_metrics::RuntimeMonitor::new(handle))
        };
        Self {
            recorder,
            process,
            runtimes: runtimes.iter().map(reporter).collect(),
        }
    }

    /// Folds histograms, which grow without bound otherwise, and reads process and runtime metrics.
    pub fn run_once(&mut self) {
        self.recorder.run_upkeep();
        self.process.collect();
        for runtime in &mut self.runtimes {
            runtime.run_once();
        }
    }
}
