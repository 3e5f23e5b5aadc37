//! Serves the runs' own metrics to Prometheus: what their clients got, and when load and faults began and ended.
//!
//! Counters start at 0 and are scraped once before a load, else a burst in the first second would be
//! no increase. The last scrape follows the last run's end.

use std::{
    io,
    net::SocketAddr,
    sync::Arc,
    time::{Duration, SystemTime},
};

use axum::{Router, http::header, routing::get};
use flash_sale::{domain::Code, metrics::SECONDS_BUCKETS};
use metrics::{
    Counter, SharedString, Unit, counter, describe_counter, describe_gauge, describe_histogram,
    gauge, histogram, with_local_recorder,
};
use metrics_exporter_prometheus::{PrometheusBuilder, PrometheusHandle, PrometheusRecorder};
use tokio::{net::TcpListener, sync::watch, task::JoinSet};

use crate::{
    record::{RequestKind, Sample},
    report::{
        Check,
        codes::{AnswerCode, OWN},
    },
};

const TEXT: &str = "text/plain; version=0.0.4; charset=utf-8";
/// Histograms grow until they are folded, which a scrape does; here for when none comes.
const FOLD_EVERY: Duration = Duration::from_secs(5);
/// For the answer of the last scrape.
const CLOSE_WITHIN: Duration = Duration::from_secs(1);

const REQUESTS: &str = "contention_requests_total";
const ANSWERS: &str = "contention_answers_total";
const LATENCY: &str = "contention_latency_seconds";
const CHECKS: &str = "contention_checks";
const EVENT: &str = "contention_event_timestamp_seconds";

/// The server of the metrics.
#[derive(Debug)]
pub(crate) struct Exporter {
    /// Where it listens.
    pub(crate) address: SocketAddr,
    recorder: Arc<PrometheusRecorder>,
    /// How long to wait for a scrape at most.
    linger: Duration,
    /// Scrapes that have begun.
    scrapes: watch::Receiver<u64>,
    stop: watch::Sender<bool>,
    server: JoinSet<io::Result<()>>,
}

impl Exporter {
    pub(crate) async fn open(address: SocketAddr, linger: Duration) -> anyhow::Result<Self> {
        let recorder = PrometheusBuilder::new()
            .set_buckets(&SECONDS_BUCKETS)?
            .build_recorder();
        with_local_recorder(&recorder, describe);
        let listener = TcpListener::bind(address).await?;
        let address = listener.local_addr()?;
        let (count, scrapes) = watch::channel(0);
        let (stop, mut stopped) = watch::channel(false);
        let handle = recorder.handle();
        let scrape = async move || {
            count.send_modify(|count| *count += 1);
            ([(header::CONTENT_TYPE, TEXT)], handle.render())
        };
        let app = Router::new().route("/metrics", get(scrape));
        let mut server = JoinSet::new();
        server.spawn(fold(recorder.handle()));
        server.spawn(async move {
            let stopped = async move {
                // An error means that the exporter is gone, which ends this task.
                drop(stopped.changed().await);
            };
            axum::serve(listener, app)
                .with_graceful_shutdown(stopped)
                .await
        });
        Ok(Self {
            address,
            recorder: Arc::new(recorder),
            linger,
            scrapes,
            stop,
            server,
        })
    }

    /// Waits until a scrape begins, at most for the time given on the command line.
    pub(crate) async fn scraped(&self) {
        let mut scrapes = self.scrapes.clone();
        scrapes.mark_unchanged();
        // Without a scraper, the run goes on.
        drop(tokio::time::timeout(self.linger, scrapes.changed()).await);
    }

    /// Answers one more scrape and stops.
    pub(crate) async fn close(mut self) {
        self.scraped().await;
        self.stop.send_modify(|stop| *stop = true);
        // The scrape may have begun only just now.
        let served = async { while !matches!(self.server.join_next().await, Some(Ok(Ok(())))) {} };
        drop(tokio::time::timeout(CLOSE_WITHIN, served).await);
    }
}

async fn fold(metrics: PrometheusHandle) -> io::Result<()> {
    loop {
        tokio::time::sleep(FOLD_EVERY).await;
        metrics.run_upkeep();
    }
}

fn describe() {
    describe_counter!(REQUESTS, "Requests sent, by kind; buy is an order.");
    describe_counter!(
        ANSWERS,
        "Answers to requests, by kind and outcome: created, replayed, waitlisted, ok, a refusal's code, unknown_code or no_answer."
    );
    describe_histogram!(
        LATENCY,
        Unit::Seconds,
        "Time from the intended start of a request to its answer, by kind."
    );
    describe_gauge!(
        CHECKS,
        "Checks of a run that has ended, by result: held, broken."
    );
    describe_gauge!(
        EVENT,
        "When a load began (start), a fault began or ended (fault), the last answer came (end)."
    );
}

/// A moment of a run that dashboards mark.
#[derive(Clone, Copy, Debug, strum::IntoStaticStr)]
#[strum(serialize_all = "snake_case")]
pub(crate) enum Event {
    Start,
    Fault,
    End,
}

/// The metrics of one run; without an exporter it counts nothing.
#[derive(Clone, Debug, Default)]
pub(crate) struct Meter(Option<Run>);

#[derive(Clone, Debug)]
struct Run {
    recorder: Arc<PrometheusRecorder>,
    /// Labels of all metrics of the run.
    scenario: SharedString,
    name: SharedString,
}

impl Meter {
    /// The metrics of the run with this name, whose counters of orders start at 0.
    pub(crate) fn new(exporter: &Exporter, scenario: &str, run: &str) -> Self {
        let run = Run {
            recorder: Arc::clone(&exporter.recorder),
            scenario: Arc::<str>::from(scenario).into(),
            name: Arc::<str>::from(run).into(),
        };
        let codes = OWN.into_iter().chain(Code::all().map(AnswerCode::Refused));
        run.record(|| {
            run.requests(RequestKind::Buy).absolute(0);
            for code in codes {
                run.answers(RequestKind::Buy, code).absolute(0);
            }
        });
        Self(Some(run))
    }

    pub(crate) fn sent(&self, kind: RequestKind) {
        if let Some(run) = &self.0 {
            run.record(|| run.requests(kind).increment(1));
        }
    }

    pub(crate) fn answered(&self, sample: &Sample) {
        let Some(run) = &self.0 else {
            return;
        };
        let kind = sample.planned.kind;
        run.record(|| {
            run.answers(kind, sample.answer.code).increment(1);
            let Run { scenario, name, .. } = run.clone();
            histogram!(LATENCY, "scenario" => scenario, "run" => name, "request" => kind_name(kind))
                .record(sample.latency());
        });
    }

    /// Something happened now.
    pub(crate) fn event(&self, event: Event, what: &str) {
        let Some(run) = &self.0 else {
            return;
        };
        let event: &'static str = event.into();
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
        run.record(|| {
            let Run { scenario, name, .. } = run.clone();
            gauge!(EVENT, "scenario" => scenario, "run" => name, "event" => event, "what" => what.to_owned())
                .set(now.unwrap_or_default());
        });
    }

    pub(crate) fn checked(&self, checks: &[Check]) {
        let Some(run) = &self.0 else {
            return;
        };
        for (result, held) in [("held", true), ("broken", false)] {
            let count = checks.iter().filter(|check| check.held == held).count();
            run.record(|| {
                let Run { scenario, name, .. } = run.clone();
                gauge!(CHECKS, "scenario" => scenario, "run" => name, "result" => result)
                    .set(u32::try_from(count).unwrap_or(u32::MAX));
            });
        }
    }
}

impl Run {
    /// Calls the macros of metrics for this exporter: the runner contains the service, which has a
    /// recorder of its own.
    fn record(&self, macros: impl FnOnce()) {
        with_local_recorder(&*self.recorder, macros);
    }

    fn requests(&self, kind: RequestKind) -> Counter {
        let Self { scenario, name, .. } = self.clone();
        counter!(REQUESTS, "scenario" => scenario, "run" => name, "request" => kind_name(kind))
    }

    fn answers(&self, kind: RequestKind, code: AnswerCode) -> Counter {
        let Self { scenario, name, .. } = self.clone();
        counter!(ANSWERS, "scenario" => scenario, "run" => name, "request" => kind_name(kind), "outcome" => code.name())
    }
}

fn kind_name(kind: RequestKind) -> &'static str {
    kind.into()
}
