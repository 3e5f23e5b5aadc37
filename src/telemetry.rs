//! Installs logging and the Prometheus recorder, once per process.

use std::io::IsTerminal;

use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle};
use tokio::runtime::Handle;
use tracing_subscriber::{EnvFilter, fmt, layer::SubscriberExt, util::SubscriberInitExt};

use crate::{config::LogFormat, metrics};

/// Logs to standard error, so that standard output stays for answers.
pub fn log(format: LogFormat, filter: &str) -> anyhow::Result<()> {
    let filter = EnvFilter::try_new(filter)?;
    let registry = tracing_subscriber::registry().with(filter);
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

/// Installs the recorder. Buckets are given by name: without them a histogram becomes a summary,
/// which cannot be added up over nodes.
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

/// What has to be done now and then for the figures to be right.
#[derive(Debug)]
pub struct Upkeep {
    recorder: PrometheusHandle,
    process: metrics_process::Collector,
    runtimes: Vec<tokio_metrics::RuntimeMetricsReporter>,
}

impl Upkeep {
    /// With the runtimes to watch, by name.
    pub fn new(recorder: PrometheusHandle, runtimes: &[(&'static str, &Handle)]) -> Self {
        let process = metrics_process::Collector::default();
        process.describe();
        let watch = |(name, handle): &(&'static str, &Handle)| {
            let name = *name;
            tokio_metrics::RuntimeMetricsReporterBuilder::default()
                .with_metrics_transformer(move |figure| {
                    ::metrics::Key::from_parts(figure, vec![::metrics::Label::new("runtime", name)])
                })
                .build_with_monitor(tokio_metrics::RuntimeMonitor::new(handle))
        };
        Self {
            recorder,
            process,
            runtimes: runtimes.iter().map(watch).collect(),
        }
    }

    /// Folds histograms, which grow for ever without it, and reads process and runtime figures.
    pub fn run_once(&mut self) {
        self.recorder.run_upkeep();
        self.process.collect();
        for runtime in &mut self.runtimes {
            runtime.run_once();
        }
    }
}
