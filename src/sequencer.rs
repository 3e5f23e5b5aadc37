//! Who gets it: the one door to stock.
//!
//! Each product has one lane on this node, a task that serves its wishes batch by batch. This
//! handle routes a wish to its lane and waits for the verdict. A caller that goes away, or waits
//! too long, abandons a wish that was not begun; one that was begun is finished without it.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError},
    time::{Duration, Instant},
};

use tokio::sync::{
    mpsc::{self, error::TrySendError},
    oneshot,
};

use crate::{
    domain::{OrderId, OrderRequest, Outcome, Product, ProductId},
    events::Events,
    lock::Lock,
    metrics,
    redis::Redis,
    sequencer::{
        asks::Ask,
        decide::{Verdict, Wish},
        lane::Lane,
    },
    store::Store,
    tasks::Tasks,
};

mod asks;
mod backoff;
mod batch;
mod claim;
mod decide;
mod handover;
mod lane;
mod settle;

/// Products that are sold at the same moment on one node; a lane costs a few kilobytes.
const LANES_MAX: usize = 10_000;

/// The share of a request's time after which its caller is told, whatever the lane does: the
/// answer has to travel.
const ANSWER_WITHIN: f64 = 0.96;

/// Why a wish has no verdict.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// The lock stayed busy beyond the caller's patience, or too many wait. Nothing was written.
    #[error("too many want this product at once")]
    HighDemand,
    /// The database cannot be reached in time. Nothing was written.
    #[error("orders cannot be taken right now")]
    Unavailable,
    /// It may or may not have been written.
    #[error("the outcome is not known yet")]
    OutcomeUnknown(OrderId),
    /// A bug. Nothing was written.
    #[error("the database refused the batch")]
    Internal,
}

impl Error {
    pub fn label(self) -> &'static str {
        match self {
            Self::HighDemand => "high_demand",
            Self::Unavailable => "unavailable",
            Self::OutcomeUnknown(_) => "outcome_unknown",
            Self::Internal => "internal",
        }
    }
}

/// What became of a restock.
#[derive(Clone, Debug)]
pub enum Restock {
    Done(Box<Product>),
    NotFound,
    /// More units than [`crate::domain::STOCK_MAX`] would have been offered.
    TooLarge,
}

/// The bounds of every lane.
#[derive(Clone, Copy, Debug)]
pub struct Bounds {
    pub batch_max: usize,
    pub queue_max: usize,
    pub patience: Duration,
    /// Within it every wish has an answer.
    pub request_timeout: Duration,
}

/// What lanes work with.
#[derive(Debug)]
struct Context {
    store: Store,
    lock: Lock,
    events: Events,
    redis: Option<Redis>,
    bounds: Bounds,
    tasks: Tasks,
}

/// The handle on all lanes; clones share them.
#[derive(Clone, Debug)]
pub struct Sequencer {
    lanes: Arc<Lanes>,
}

#[derive(Debug)]
struct Lanes {
    context: Context,
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

/// A verdict; for a restock also the product as the batch left it.
#[derive(Debug)]
struct Answer(Verdict, Option<Box<Product>>);

impl Sequencer {
    pub fn new(
        store: Store,
        lock: Lock,
        (events, redis): (Events, Option<Redis>),
        bounds: Bounds,
        tasks: Tasks,
    ) -> Self {
        let context = Context {
            store,
            lock,
            events,
            redis,
            bounds,
            tasks,
        };
        let inboxes = Mutex::new(Some(HashMap::new()));
        Self {
            lanes: Arc::new(Lanes { context, inboxes }),
        }
    }

    /// Decides an order. The outcome is durable when this returns.
    ///
    /// `began` is when the request's time began.
    pub async fn place(&self, request: OrderRequest, began: Instant) -> Result<Outcome, Error> {
        let (product, order) = (request.product_id, request.order_id);
        let wish = Wish::Order(Box::new(request));
        match self.submit(product, order, wish, began).await {
            Ok(Answer(Verdict::Order(outcome), _)) => Ok(outcome),
            Ok(Answer(
                Verdict::Restocked | Verdict::NothingToRestock | Verdict::RestockTooLarge,
                _,
            )) => Ok(Outcome::ProductNotFound),
            Err(error) => {
                self.lanes.count(product, error.label());
                Err(error)
            }
        }
    }

    /// Offers `quantity` more units.
    pub async fn restock(
        &self,
        product: ProductId,
        quantity: i32,
        began: Instant,
    ) -> Result<Restock, Error> {
        let wish = Wish::Restock(quantity);
        let id = OrderId::now_v7();
        let answer = self.submit(product, id, wish, began).await?;
        Ok(match answer {
            Answer(Verdict::Restocked, Some(product)) => Restock::Done(product),
            Answer(Verdict::RestockTooLarge, _) => Restock::TooLarge,
            Answer(Verdict::Restocked | Verdict::NothingToRestock | Verdict::Order(_), _) => {
                Restock::NotFound
            }
        })
    }

    /// Takes no more wishes; the lanes end when they have served those that wait.
    pub fn close(&self) {
        self.lanes.lock().take();
    }

    async fn submit(
        &self,
        product: ProductId,
        id: OrderId,
        wish: Wish,
        began: Instant,
    ) -> Result<Answer, Error> {
        let (claim, ticket) = claim::new();
        let (reply, answer) = oneshot::channel();
        let ask = Ask {
            wish,
            id,
            arrived: Instant::now(),
            claim,
            reply,
        };
        self.lanes.send(product, ask)?;
        let time = self.lanes.context.bounds.request_timeout;
        let deadline = began + time.mul_f64(ANSWER_WITHIN);
        match tokio::time::timeout_at(deadline.into(), answer).await {
            Ok(Ok(answer)) => answer,
            // The lane took too long, or died: if it had not begun, it never will.
            Err(_) | Ok(Err(_)) if ticket.abandon() => Err(Error::Unavailable),
            Err(_) | Ok(Err(_)) => Err(Error::OutcomeUnknown(id)),
        }
    }
}

impl Lanes {
    fn lock(&self) -> MutexGuard<'_, Option<Inboxes>> {
        self.inboxes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Puts the wish into its lane's queue, starting the lane if it sleeps.
    fn send(self: &Arc<Self>, product: ProductId, ask: Ask) -> Result<(), Error> {
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

    /// Counts an order that got no outcome; outcomes are counted by the lanes, for callers who
    /// have left too.
    fn count(&self, product: ProductId, error: &'static str) {
        let inboxes = self.lock();
        let inbox = inboxes.as_ref().and_then(|inboxes| inboxes.get(&product));
        match inbox.and_then(|inbox| inbox.metrics.get()) {
            Some(metrics) => metrics.ordered(error, 1),
            None => metrics::ordered_unknown(error),
        }
    }

    /// Forgets an idle lane, unless a wish has just arrived for it.
    fn retire(&self, product: ProductId, asks: &mpsc::Receiver<Ask>) -> bool {
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
