//! The other nodes of the shop: each publishes its report through Redis while anybody watches any
//! of them. Without Redis, or while it is down, a node shows itself only.

use std::{
    collections::HashMap,
    sync::Arc,
    time::{Duration, Instant},
};

use parking_lot::Mutex;
use tokio::sync::mpsc;
use uuid::Uuid;

use super::{Shared, report::Report};
use crate::{
    redis::{
        MONITOR_CHANNEL, Redis,
        channel::{self, ChannelEvent},
    },
    tasks::Tasks,
};

/// Nodes that are shown; no shop has a quarter of them.
const NODES_MAX: usize = 64;
/// A node that was not heard for this long is shown as silent.
pub(super) const SILENT_AFTER: Duration = Duration::from_secs(4);
/// A silent node is forgotten after this long.
const FORGOTTEN_AFTER: Duration = Duration::from_mins(1);

/// The last report of each other node, and when it came.
#[derive(Debug, Default)]
pub(super) struct Nodes(Mutex<HashMap<Uuid, (Report, Instant)>>);

impl Nodes {
    /// Keeps a report of another node.
    pub(super) fn hear(&self, report: Report, now: Instant) {
        let mut nodes = self.0.lock();
        nodes.retain(|_, (_, heard)| now.duration_since(*heard) < FORGOTTEN_AFTER);
        if nodes.len() < NODES_MAX || nodes.contains_key(&report.identity.node) {
            nodes.insert(report.identity.node, (report, now));
        }
    }

    /// The other nodes by name, and for how long each has been silent.
    pub(super) fn reports(&self, now: Instant) -> Vec<(Report, Duration)> {
        let nodes = self.0.lock();
        let mut reports: Vec<_> = nodes
            .values()
            .map(|(report, heard)| (report.clone(), now.duration_since(*heard)))
            .filter(|(_, silent)| *silent < FORGOTTEN_AFTER)
            .collect();
        reports.sort_by(|(a, _), (b, _)| a.identity.name.cmp(&b.identity.name));
        reports
    }
}

/// Joins the channel of the nodes; what is sent into the result is published.
pub(super) fn join(redis: &Redis, shared: &Arc<Shared>, tasks: &Tasks) -> mpsc::Sender<Report> {
    // One a second: a second one waits only while Redis does not answer.
    let (outbox, inbox) = mpsc::channel(1);
    let commands = redis.commands.clone();
    let newest = |mut reports: Vec<Report>| reports.pop().into_iter().collect();
    let publisher = channel::publish(commands, MONITOR_CHANNEL, inbox, newest, tasks.clone());
    tasks.spawn("monitor publisher", publisher);
    let (subscriber, receiver) = (redis.subscriber.clone(), Arc::clone(shared));
    let handle = move |event: ChannelEvent<Report>| {
        if let ChannelEvent::Message(report) = event {
            receiver.hear(report);
        }
    };
    let listener = channel::listen(subscriber, MONITOR_CHANNEL, handle, tasks.clone());
    tasks.spawn("monitor listener", listener);
    outbox
}
