//! Registry of this node's lanes: starts a lane on demand, removes it when idle, routes commands.

use std::{
    collections::HashMap,
    sync::{Arc, OnceLock},
};

use parking_lot::Mutex;
use tokio::sync::mpsc::{self, error::TrySendError};

use super::{
    Error,
    context::Context,
    lane::{Lane, Pause},
    pending::PendingCommand,
};
use crate::{
    domain::{Code, ProductId},
    metrics,
};

/// Lanes of one node at a time; a lane costs a few kilobytes.
const LANES_MAX: usize = 10_000;

#[derive(Debug)]
pub(super) struct Lanes {
    pub(super) context: Arc<Context>,
    /// None once the service stops: then the lanes serve the pending commands and end.
    inboxes: Mutex<Option<Inboxes>>,
}

type Inboxes = HashMap<ProductId, Inbox>;

/// The queue of a lane, and its metrics once the lane has read its product.
#[derive(Debug)]
struct Inbox {
    queue: mpsc::Sender<PendingCommand>,
    metrics: Arc<OnceLock<metrics::ProductMetrics>>,
}

impl Lanes {
    pub(super) fn new(context: Context) -> Self {
        Self {
            context: Arc::new(context),
            inboxes: Mutex::new(Some(HashMap::new())),
        }
    }

    /// Rejects further commands.
    pub(super) fn close(&self) {
        self.inboxes.lock().take();
    }

    /// Puts the command into its lane's queue, starting the lane if there is none.
    pub(super) fn send(
        self: &Arc<Self>,
        product: ProductId,
        pending: PendingCommand,
    ) -> Result<(), Error> {
        let mut inboxes = self.inboxes.lock();
        let Some(inboxes) = inboxes.as_mut() else {
            return Err(Error::Unavailable);
        };
        let pending = match inboxes.get(&product) {
            None if inboxes.len() >= LANES_MAX => return Err(Error::HighDemand),
            None => pending,
            Some(inbox) => match inbox.queue.try_send(pending) {
                Ok(()) => return Ok(()),
                Err(TrySendError::Full(_)) => return Err(Error::HighDemand),
                Err(TrySendError::Closed(pending)) => pending,
            },
        };
        let metrics = Arc::default();
        let (lane, queue) = Lane::new(product, Arc::clone(&metrics), Arc::clone(&self.context));
        drop(queue.try_send(pending));
        inboxes.insert(product, Inbox { queue, metrics });
        let tasks = &self.context.parts.tasks;
        tasks.spawn("lane", run(Arc::clone(self), product, lane));
        Ok(())
    }

    /// Counts an order that failed; the lanes count outcomes, also those of disconnected callers.
    pub(super) fn count_failure(&self, product: ProductId, code: Code) {
        let inboxes = self.inboxes.lock();
        let inbox = inboxes.as_ref().and_then(|inboxes| inboxes.get(&product));
        match inbox.and_then(|inbox| inbox.metrics.get()) {
            Some(metrics) => metrics.ordered(code.into(), 1),
            None => metrics::ordered_unknown(code.into()),
        }
    }

    /// Commands in the longest queue.
    pub(super) fn longest_queue(&self) -> usize {
        let inboxes = self.inboxes.lock();
        let queues = inboxes.iter().flat_map(Inboxes::values);
        let lengths = queues.map(|inbox| inbox.queue.max_capacity() - inbox.queue.capacity());
        lengths.max().unwrap_or_default()
    }

    /// Removes an idle lane, unless a command has just arrived in its inbox.
    fn retire(&self, product: ProductId, lane: &Lane) -> bool {
        let mut inboxes = self.inboxes.lock();
        if lane.has_commands() {
            return false;
        }
        if let Some(inboxes) = inboxes.as_mut() {
            inboxes.remove(&product);
        }
        true
    }
}

/// Runs a lane until the service stops or the lane is removed.
async fn run(lanes: Arc<Lanes>, product: ProductId, mut lane: Lane) {
    loop {
        match lane.serve().await {
            Pause::Closed => break,
            Pause::Idle | Pause::NoProduct if lanes.retire(product, &lane) => break,
            Pause::Idle | Pause::NoProduct => {}
        }
    }
    lane.end();
}
