//! All lanes of this node: started when they are needed, forgotten when they idle.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError},
    time::Instant,
};

use tokio::sync::{
    mpsc::{self, error::TrySendError},
    oneshot,
};

use super::{Bounds, Deadlines, Error, asks::Ask, claim, decide::Wish, lane::Lane};
use crate::{
    domain::{OrderId, ProductId},
    events::Events,
    lock::Lock,
    metrics,
    news::News,
    redis::Redis,
    store::Store,
    tasks::Tasks,
};

/// Products that are sold at the same moment on one node; a lane costs a few kilobytes.
const LANES_MAX: usize = 10_000;

/// What lanes work with.
#[derive(Debug)]
pub(super) struct Context {
    pub(super) store: Store,
    pub(super) lock: Lock,
    pub(super) events: Events,
    pub(super) news: News,
    pub(super) redis: Option<Redis>,
    pub(super) bounds: Bounds,
    pub(super) tasks: Tasks,
    pub(super) deadlines: Deadlines,
}

#[derive(Debug)]
pub(super) struct Lanes {
    pub(super) context: Context,
    /// None once the service stops: then the lanes serve what waits, and end.
    inboxes: Mutex<Option<Inboxes>>,
}

type Inboxes = HashMap<ProductId, Inbox>;

/// The way to a lane, and to its figures once it knows its product.
#[derive(Debug)]
struct Inbox {
    asks: mpsc::Sender<Ask>,
    metrics: Arc<OnceLock<metrics::Product>>,
}

impl Lanes {
    pub(super) fn new(context: Context) -> Self {
        let inboxes = Mutex::new(Some(HashMap::new()));
        Self { context, inboxes }
    }

    /// Takes no more wishes.
    pub(super) fn close(&self) {
        self.lock().take();
    }

    fn lock(&self) -> MutexGuard<'_, Option<Inboxes>> {
        self.inboxes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Puts the wish into its lane's queue, starting the lane if it sleeps.
    pub(super) fn send(self: &Arc<Self>, product: ProductId, ask: Ask) -> Result<(), Error> {
        let mut inboxes = self.lock();
        let Some(inboxes) = inboxes.as_mut() else {
            return Err(Error::Unavailable);
        };
        let ask = match inboxes.get(&product) {
            None if inboxes.len() >= LANES_MAX => return Err(Error::HighDemand),
            None => ask,
            Some(inbox) => match inbox.asks.try_send(ask) {
                Ok(()) => return Ok(()),
                Err(TrySendError::Full(_)) => return Err(Error::HighDemand),
                Err(TrySendError::Closed(ask)) => ask,
            },
        };
        let (sender, asks) = mpsc::channel(self.context.bounds.queue_max);
        drop(sender.try_send(ask));
        let metrics = Arc::default();
        let lane = Lane::new(product, asks, Arc::clone(&metrics), Arc::clone(self));
        let inbox = Inbox {
            asks: sender,
            metrics,
        };
        inboxes.insert(product, inbox);
        self.context.tasks.spawn("lane", lane.run());
        Ok(())
    }

    /// Has the product's lane look for more to tend to; nobody waits for it.
    pub(super) fn tend(self: &Arc<Self>, product: ProductId) {
        let (reply, _) = oneshot::channel();
        let ask = Ask {
            wish: Wish::Tend,
            id: OrderId::now_v7(),
            arrived: Instant::now(),
            claim: claim::of_nobody(),
            reply,
        };
        if let Err(error) = self.send(product, ask) {
            // The job that ends holds comes by again.
            tracing::debug!(%product, "cannot tend to {product} now: {error}");
        }
    }

    /// Counts an order that got no outcome; outcomes are counted by the lanes, for callers who
    /// have left too.
    pub(super) fn count(&self, product: ProductId, error: &'static str) {
        let inboxes = self.lock();
        let inbox = inboxes.as_ref().and_then(|inboxes| inboxes.get(&product));
        match inbox.and_then(|inbox| inbox.metrics.get()) {
            Some(metrics) => metrics.ordered(error, 1),
            None => metrics::ordered_unknown(error),
        }
    }

    /// Forgets an idle lane, unless a wish has just arrived for it.
    pub(super) fn retire(&self, product: ProductId, asks: &mpsc::Receiver<Ask>) -> bool {
        let mut inboxes = self.lock();
        if !asks.is_empty() {
            return false;
        }
        if let Some(inboxes) = inboxes.as_mut() {
            inboxes.remove(&product);
        }
        true
    }
}
