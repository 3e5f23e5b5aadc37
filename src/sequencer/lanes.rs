//! Registry of this node's lanes: starts a lane on demand, removes it when idle, routes commands.

use std::{
    collections::HashMap,
    sync::{Arc, OnceLock},
    time::Instant,
};

use parking_lot::Mutex;
use tokio::sync::{
    mpsc::{self, error::TrySendError},
    oneshot,
};

use super::{
    Deadlines, Error, LaneBounds, Parts, claim, decide::Command, lane::Lane,
    pending::PendingCommand,
};
use crate::{
    domain::{Code, OrderId, ProductId},
    metrics,
};

/// Lanes of one node at a time; a lane costs a few kilobytes.
const LANES_MAX: usize = 10_000;

/// State that all lanes of this node share.
#[derive(Debug)]
pub(super) struct Context {
    pub(super) parts: Parts,
    pub(super) bounds: LaneBounds,
    pub(super) deadlines: Deadlines,
}

#[derive(Debug)]
pub(super) struct Lanes {
    pub(super) context: Context,
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
        let inboxes = Mutex::new(Some(HashMap::new()));
        Self { context, inboxes }
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
        let (queue, inbox) = mpsc::channel(self.context.bounds.queue_max);
        drop(queue.try_send(pending));
        let metrics = Arc::default();
        let lane = Lane::new(product, inbox, Arc::clone(&metrics), Arc::clone(self));
        inboxes.insert(product, Inbox { queue, metrics });
        self.context.parts.tasks.spawn("lane", lane.run());
        Ok(())
    }

    /// Sends [`Command::ExpireHolds`] without a caller.
    pub(super) fn expire_holds(self: &Arc<Self>, product: ProductId) {
        let (result, _) = oneshot::channel();
        let pending = PendingCommand {
            command: Command::ExpireHolds,
            id: OrderId::now_v7(),
            arrived: Instant::now(),
            claim: claim::without_caller(),
            result,
        };
        if let Err(error) = self.send(product, pending) {
            // The expiry job repeats the command.
            tracing::debug!(%product, "cannot expire holds of {product} now: {error}");
        }
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

    /// Removes an idle lane, unless a command has just arrived in its inbox.
    pub(super) fn retire(
        &self,
        product: ProductId,
        inbox: &mpsc::Receiver<PendingCommand>,
    ) -> bool {
        let mut inboxes = self.inboxes.lock();
        if !inbox.is_empty() {
            return false;
        }
        if let Some(inboxes) = inboxes.as_mut() {
            inboxes.remove(&product);
        }
        true
    }
}
