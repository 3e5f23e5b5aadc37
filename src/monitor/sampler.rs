//! The task behind the monitor: once a second, while somebody watches, it reads the metrics and the
//! drops, publishes this node's report and makes the snapshot.

use std::{
    collections::VecDeque,
    sync::Arc,
    time::{Duration, Instant},
};

use bytes::Bytes;
use tokio::sync::mpsc;

use super::{
    Parts, Shared,
    drops::{BUSIEST_MAX, Drops},
    event,
    nodes::SILENT_AFTER,
    report::{self, LockState, Report, WINDOW},
    scrape::Scrape,
    snapshot::{self, Snapshot},
};
use crate::{domain::now, telemetry::faults};

const EVERY: Duration = Duration::from_secs(1);
/// Seconds of the charts that a new viewer gets; the longest window of the page.
const HISTORY_MAX: usize = 900;
/// Log lines in a report to other nodes.
const FAULTS_TOLD: usize = 10;

#[derive(Debug)]
pub(super) struct Sampler {
    parts: Parts,
    shared: Arc<Shared>,
    /// Reports to the other nodes.
    others: Option<mpsc::Sender<Report>>,
    /// Those of the window, oldest first.
    scrapes: VecDeque<Scrape>,
    drops: Drops,
    began: Instant,
}

impl Sampler {
    pub(super) fn new(
        parts: Parts,
        shared: Arc<Shared>,
        others: Option<mpsc::Sender<Report>>,
    ) -> Self {
        Self {
            drops: Drops::new(parts.store.clone()),
            parts,
            shared,
            others,
            scrapes: VecDeque::new(),
            began: Instant::now(),
        }
    }

    pub(super) async fn run(mut self) {
        let tasks = self.parts.tasks.clone();
        while self.is_watched().await {
            self.sample().await;
            if !tasks.pause(EVERY).await {
                return;
            }
        }
    }

    /// Waits until somebody watches; false when the service stops.
    async fn is_watched(&mut self) -> bool {
        if self.shared.is_watched() {
            return true;
        }
        // What comes after a pause is no continuation: no rate is made across it.
        self.scrapes.clear();
        self.drops.pause();
        if let Some(alertmanager) = &mut self.parts.alertmanager {
            alertmanager.pause();
        }
        self.shared.snapshot.send_replace(Bytes::new());
        while !self.shared.is_watched() {
            tokio::select! {
                () = self.parts.tasks.stopped() => return false,
                () = self.shared.watched.notified() => {}
            }
        }
        true
    }

    async fn sample(&mut self) {
        let now = Instant::now();
        let scrape = Scrape::parse(&self.parts.recorder.render(), now);
        self.scrapes.push_back(scrape);
        let is_old = |scrape: &Scrape| now.duration_since(scrape.at) > WINDOW + EVERY / 2;
        while self.scrapes.front().is_some_and(is_old) {
            self.scrapes.pop_front();
        }
        let Some(report) = self.report() else { return };
        if let Some(others) = &self.others {
            let mut told = report.clone();
            told.faults.truncate(FAULTS_TOLD);
            // While Redis does not answer, the other nodes learn that this one is silent.
            drop(others.try_send(told));
        }
        if report.watches {
            self.show(&report, now).await;
        }
    }

    fn report(&self) -> Option<Report> {
        let report = report::of(&self.scrapes, self.shared.identity.clone())?;
        Some(Report {
            watches: self.shared.viewers() > 0,
            uptime_seconds: self.began.elapsed().as_secs(),
            lock: LockState::from(self.parts.lock.health()),
            faults: faults::last(faults::KEPT_MAX),
            ..report
        })
    }

    async fn show(&mut self, own: &Report, at: Instant) {
        let tasks = &self.parts.tasks;
        let alertmanager = self.parts.alertmanager.as_mut();
        let alerts = alertmanager.map(|alertmanager| alertmanager.look(at, tasks));
        let others = self.shared.nodes.reports(Instant::now());
        let reports = std::iter::once(own).chain(others.iter().map(|(report, _)| report));
        let busiest = report::busiest(reports, BUSIEST_MAX);
        let (drops, database) = self.drops.look(busiest, at).await;
        let snapshot = Snapshot::of(&snapshot::Parts {
            own,
            others,
            silent_after: SILENT_AFTER,
            drops,
            database,
            alerts,
            viewers: self.shared.viewers(),
            crowd: self.shared.crowds.state(),
            at: now(),
        });
        let mut history = self.shared.history.lock();
        if history.len() == HISTORY_MAX {
            history.pop_front();
        }
        history.push_back(snapshot.point);
        drop(history);
        self.shared
            .snapshot
            .send_replace(event("snapshot", &snapshot));
    }
}
