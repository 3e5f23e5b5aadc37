//! The lane: the single writer of one product on this node.
//!
//! It gathers what waits, takes the lock of the stock level that it sees, decides and writes the
//! batch in one transaction, answers everybody, and releases off the response path. While one
//! batch commits the next one gathers, so the batch grows with the load by itself.
//!
//! A decision that writes may rest on the row as the lane itself left it: the version guard
//! catches a stale one. A batch of refusals writes nothing that could be guarded, so it rests on
//! a row that was read after its wishes had arrived.

use std::{
    sync::{
        Arc, OnceLock,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

use tokio::{
    sync::{mpsc, watch},
    time::timeout,
};

use self::ahead::Ahead;
use super::{
    Error,
    asks::{Ask, Asks},
    backoff::Backoff,
    handover,
    lanes::{Context, Lanes},
};
use crate::{
    domain::{Product, ProductId, jitter},
    events::Stock,
    lock::{Attempt, Guard},
    metrics, store,
};

mod ahead;
mod report;
mod write;

/// A lane without wishes goes away after this long.
const IDLE: Duration = Duration::from_secs(10);
/// The share of the request time-out that a wish may wait before a batch with it begins.
const BEGIN_WITHIN: f64 = 0.5;
/// How long another node that waits may take to write before this one tries again. It ends
/// early, with the word of the other node's commit.
const HEAD_START: Duration = Duration::from_millis(5);

#[derive(Debug)]
pub(super) struct Lane {
    product_id: ProductId,
    inbox: mpsc::Receiver<Ask>,
    lanes: Arc<Lanes>,
    /// The row as this lane's last commit left it.
    known: Option<Product>,
    /// The lock of the level that the row is at, or soon will be.
    ahead: Option<Ahead>,
    /// Filled once the product is known.
    metrics: Arc<OnceLock<metrics::Product>>,
    /// Wakes the lane when another node has written the product.
    changes: watch::Receiver<Option<Stock>>,
    /// This lane's name towards other nodes.
    name: String,
    turns: handover::Turns,
}

/// Whether the lane's product is there.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Exists {
    Yes,
    No,
}

/// What to do with the batch next.
enum Step {
    /// Everybody was answered.
    Done,
    /// Everybody was told that there is no such product.
    NoProduct,
    /// The row has moved on: read and decide again.
    Again,
    /// Another node has the lock.
    Busy,
    /// The database does not answer, or does not want to.
    Failed(store::Error),
}

impl Lane {
    pub(super) fn new(
        product: ProductId,
        inbox: mpsc::Receiver<Ask>,
        metrics: Arc<OnceLock<metrics::Product>>,
        lanes: Arc<Lanes>,
    ) -> Self {
        let changes = lanes.context.events.watch(product);
        Self {
            product_id: product,
            inbox,
            changes,
            lanes,
            known: None,
            ahead: None,
            metrics,
            name: ProductId::now_v7().to_string(),
            turns: handover::Turns::default(),
        }
    }

    /// Serves until the service stops or nobody has asked for a while.
    pub(super) async fn run(mut self) {
        let mut batch = Vec::new();
        let batch_max = self.context().bounds.batch_max;
        loop {
            if self.inbox.is_empty() {
                self.give_back();
            }
            match timeout(IDLE, self.inbox.recv_many(&mut batch, batch_max)).await {
                Ok(0) => break,
                Ok(_) => {
                    let product = self.serve(Asks::new(std::mem::take(&mut batch))).await;
                    // Anybody can make up an id; it must not cost a lane's place for long.
                    if product == Exists::No && self.lanes.retire(self.product_id, &self.inbox) {
                        break;
                    }
                }
                Err(_) if self.lanes.retire(self.product_id, &self.inbox) => break,
                Err(_) => {}
            }
        }
        self.give_back();
        if let Some(metrics) = self.metrics.get() {
            metrics.queue.set(0);
        }
    }

    /// Gives back a lock that was taken in vain.
    fn give_back(&mut self) {
        if let Some(ahead) = self.ahead.take() {
            ahead.give_back(&self.context().tasks);
        }
    }

    fn context(&self) -> &Context {
        &self.lanes.context
    }

    /// The part of the request time-out that `share` stands for.
    fn within(&self, share: f64) -> Duration {
        self.context().bounds.request_timeout.mul_f64(share)
    }

    /// Tries until every wish of the batch is answered; each has its own patience.
    async fn serve(&mut self, mut asks: Asks) -> Exists {
        let mut busy = Backoff::busy();
        let mut unreachable = Backoff::unreachable();
        let begun = Instant::now();
        loop {
            asks.forget_gone();
            asks.refuse_older(self.within(BEGIN_WITHIN), Error::Unavailable);
            if asks.is_empty() {
                return Exists::Yes;
            }
            match self.attempt(&mut asks, begun).await {
                Step::Done => return Exists::Yes,
                Step::NoProduct => return Exists::No,
                Step::Again => {}
                Step::Busy => {
                    let patience = self.context().bounds.patience;
                    asks.refuse_older(patience, Error::HighDemand);
                    let redis = self.context().redis.as_ref();
                    handover::wait(redis, self.product_id, &self.name).await;
                    self.change_within(busy.next()).await;
                }
                Step::Failed(error) => {
                    self.give_back();
                    self.complain(&error);
                    if matches!(error, store::Error::Refused(_)) {
                        // A bug, or a schema that is not ours: trying again changes nothing.
                        asks.refuse_older(Duration::ZERO, Error::Internal);
                    }
                    tokio::time::sleep(unreachable.next()).await;
                }
            }
            let batch_max = self.context().bounds.batch_max;
            asks.top_up(&mut self.inbox, batch_max);
        }
    }

    /// Waits until another node has written the product since we last looked, or until `patience` is over.
    async fn change_within(&mut self, patience: Duration) {
        drop(timeout(patience, self.changes.changed()).await);
    }

    /// One try: read, lock, write, answer, release.
    async fn attempt(&mut self, asks: &mut Asks, begun: Instant) -> Step {
        let newest = self.changes.borrow_and_update().map(|stock| stock.version);
        // What another node has written since would only be found out by the version guard.
        let known = self.known.take().filter(|product| {
            newest.is_none_or(|newest| newest <= product.version) && asks.may_write(product)
        });
        let fresh = known.is_none();
        let product = match known {
            Some(product) => product,
            None => match self.context().store.product_to_write(self.product_id).await {
                Ok(Some(product)) => product,
                Ok(None) => {
                    asks.answer_no_product();
                    return Step::NoProduct;
                }
                Err(error) => return Step::Failed(error),
            },
        };
        self.meet(&product);
        if !asks.may_write(&product) {
            return Box::pin(self.write(asks, &product, fresh, &AtomicBool::new(false))).await;
        }
        let guard = match self.lock(&product, begun).await {
            Ok(guard) => guard,
            Err(busy) => return busy,
        };
        let (redis, name) = (self.context().redis.clone(), self.name.clone());
        let alone = AtomicBool::new(false);
        let rival = async {
            let rival = handover::somebody_waits(redis.as_ref(), product.id, &name).await;
            // Where nobody can say that it waits, everybody has to get a turn.
            alone.store(rival == Some(false), Relaxed);
            rival
        };
        let write = Box::pin(self.write(asks, &product, fresh, &alone));
        let (step, rival) = handover::meanwhile(write, rival).await;
        if let Some(guard) = guard {
            let known = self.known.as_ref();
            let same_level = known.is_none_or(|known| known.stock == product.stock);
            self.release(guard, same_level).await;
        }
        if self.turns.others_first(rival) {
            self.known = None;
            self.change_within(jitter(HEAD_START)).await;
        }
        step
    }

    /// Takes the lock of the row's level, or has it already.
    async fn take(&mut self, product: &Product) -> Attempt {
        if let Some(ahead) = self.ahead.take()
            && let Some(attempt) = ahead.at(product.stock, &self.context().tasks).await
        {
            return attempt;
        }
        let lock = &self.context().lock;
        lock.try_acquire(product.id, product.stock).await
    }

    /// Takes the lock, or goes on without one where there is no majority to ask.
    async fn lock(&mut self, product: &Product, begun: Instant) -> Result<Option<Guard>, Step> {
        let attempt = self.take(product).await;
        let Some(metrics) = self.metrics.get() else {
            return Ok(None);
        };
        match attempt {
            Attempt::Acquired(guard) => {
                metrics.acquired.increment(1);
                metrics.lock_wait.record(begun.elapsed());
                Ok(Some(guard))
            }
            Attempt::Busy => {
                metrics.busy.increment(1);
                Err(Step::Busy)
            }
            Attempt::NoQuorum => {
                metrics.no_quorum.increment(1);
                Ok(None)
            }
            Attempt::Failed => {
                metrics.lock_error.increment(1);
                Ok(None)
            }
        }
    }
}
