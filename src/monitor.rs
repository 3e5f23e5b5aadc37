//! The live monitor of the people who watch a drop.
//!
//! One task samples the metrics once a second and makes one snapshot for all viewers; a slow viewer
//! skips snapshots. While nobody watches any node, nothing is sampled, read or published.

use std::{
    collections::VecDeque,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    time::{Duration, Instant},
};

use bytes::Bytes;
use metrics_exporter_prometheus::PrometheusHandle;
use parking_lot::Mutex;
use tokio::sync::{Notify, watch};
use uuid::Uuid;

use self::{
    crowd::Crowds,
    nodes::Nodes,
    report::{Identity, Report},
    sampler::Sampler,
    snapshot::Point,
};
use crate::{domain::ProductId, lock::Lock, redis::Redis, store::Store, tasks::Tasks};

pub use self::{
    alerts::Alertmanager,
    crowd::{Crowd, RunningCrowd},
};

mod alerts;
mod crowd;
mod drops;
mod nodes;
mod report;
mod sampler;
mod scrape;
mod snapshot;

/// How long this node reports after another one has said that it is watched.
const REPORTS_FOR: Duration = Duration::from_secs(4);

/// What the monitor reads.
#[derive(Debug)]
pub struct Parts {
    pub recorder: PrometheusHandle,
    pub store: Store,
    pub lock: Lock,
    pub redis: Option<Redis>,
    pub alertmanager: Option<Alertmanager>,
    /// Host and port of the API.
    pub name: String,
    pub viewers_max: u32,
    /// On the runtime of the requests: reading the metrics must not delay a lane.
    pub tasks: Tasks,
}

/// The monitor; clones share it.
#[derive(Clone, Debug)]
pub struct Monitor(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    identity: Identity,
    viewers: AtomicU32,
    viewers_max: u32,
    /// Wakes the sampler when somebody begins to watch.
    watched: Notify,
    /// The last snapshot as an event; empty while nobody watches.
    snapshot: watch::Sender<Bytes>,
    /// What the charts showed, oldest first.
    history: Mutex<VecDeque<Point>>,
    nodes: Nodes,
    /// When another node last said that it is watched.
    asked: Mutex<Option<Instant>>,
    crowds: Crowds,
}

/// Too many viewers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("too many viewers of the monitor")]
pub struct Full;

/// A viewer, who leaves when this is dropped.
#[derive(Debug)]
pub struct Viewer {
    shared: Arc<Shared>,
    snapshots: watch::Receiver<Bytes>,
}

impl Monitor {
    /// Starts the tasks, which wait until somebody watches.
    pub fn start(parts: Parts) -> Self {
        let tasks = parts.tasks.clone();
        let name = parts.name.clone();
        let shared = Arc::new(Shared::new(name, parts.viewers_max));
        let redis = parts.redis.as_ref();
        let others = redis.map(|redis| nodes::join(redis, &shared, &tasks));
        let sampler = Sampler::new(parts, Arc::clone(&shared), others);
        tasks.spawn("monitor", sampler.run());
        Self(shared)
    }

    /// Begins to watch.
    ///
    /// # Errors
    /// While `viewers_max` others watch.
    pub fn watch(&self) -> Result<Viewer, Full> {
        let shared = &self.0;
        let room = |viewers: u32| (viewers < shared.viewers_max).then(|| viewers + 1);
        let order = Ordering::Relaxed;
        let counted = shared.viewers.fetch_update(order, order, room);
        counted.map_err(|_| Full)?;
        shared.watched.notify_one();
        let mut snapshots = shared.snapshot.subscribe();
        snapshots.mark_changed();
        Ok(Viewer {
            shared: Arc::clone(shared),
            snapshots,
        })
    }

    /// Begins a crowd of the demo; `None` while one is running.
    pub fn begin_crowd(&self, product: ProductId, buyers: u64) -> Option<RunningCrowd> {
        self.0.crowds.begin(product, buyers)
    }
}

impl Viewer {
    /// The charts so far, as an event.
    pub fn history(&self) -> Bytes {
        event("history", &*self.shared.history.lock())
    }

    /// The next snapshot, as an event; those before it that nobody took are left out. `None` at the
    /// end of the service.
    pub async fn next(&mut self) -> Option<Bytes> {
        loop {
            self.snapshots.changed().await.ok()?;
            let snapshot = Bytes::clone(&self.snapshots.borrow_and_update());
            if !snapshot.is_empty() {
                return Some(snapshot);
            }
        }
    }
}

impl Drop for Viewer {
    fn drop(&mut self) {
        self.shared.viewers.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Shared {
    fn new(name: String, viewers_max: u32) -> Self {
        Self {
            identity: Identity {
                node: Uuid::now_v7(),
                name,
                version: env!("CARGO_PKG_VERSION").to_owned(),
            },
            viewers: AtomicU32::new(0),
            viewers_max,
            watched: Notify::new(),
            snapshot: watch::Sender::new(Bytes::new()),
            history: Mutex::default(),
            nodes: Nodes::default(),
            asked: Mutex::default(),
            crowds: Crowds::default(),
        }
    }

    fn viewers(&self) -> u32 {
        self.viewers.load(Ordering::Relaxed)
    }

    /// Whether this node samples: somebody watches it, or another node.
    fn is_watched(&self) -> bool {
        let is_recent = |asked: Instant| asked.elapsed() < REPORTS_FOR;
        self.viewers() > 0 || self.asked.lock().is_some_and(is_recent)
    }

    /// Takes the report of another node, or its own, which comes back.
    fn hear(&self, report: Report) {
        if report.identity.node == self.identity.node {
            return;
        }
        let now = Instant::now();
        if report.watches {
            *self.asked.lock() = Some(now);
            self.watched.notify_one();
        }
        self.nodes.hear(report, now);
    }
}

/// A server-sent event. JSON has no line breaks, so that one `data` line holds it.
fn event(kind: &str, data: &impl serde::Serialize) -> Bytes {
    let data = serde_json::to_string(data).unwrap_or_default();
    Bytes::from(format!("event: {kind}\ndata: {data}\n\n"))
}

#[cfg(test)]
mod tests {
    use futures::FutureExt;

    use super::*;

    #[test]
    fn a_viewer_that_reads_nothing_keeps_only_the_last_snapshot() {
        let monitor = Monitor(Arc::new(Shared::new("shop:8080".to_owned(), 1)));
        let mut viewer = monitor.watch().unwrap();
        for number in 0..1_000 {
            monitor.0.snapshot.send_replace(event("snapshot", &number));
        }

        let last = viewer.next().now_or_never().flatten();

        assert_eq!(last, Some(event("snapshot", &999)));
        assert_eq!(viewer.next().now_or_never(), None, "nothing else waits");
    }

    #[test]
    fn viewers_have_a_bound_and_leave_their_place() {
        let monitor = Monitor(Arc::new(Shared::new("shop:8080".to_owned(), 2)));
        let first = monitor.watch().unwrap();
        let _second = monitor.watch().unwrap();
        assert_eq!(monitor.watch().err(), Some(Full));
        drop(first);
        assert!(monitor.watch().is_ok());
    }
}
