//! The lane: a task that is the single writer of one product on this node.
//!
//! It gathers pending commands, takes the lock of the stock level that it read, decides and writes
//! the batch with one commit, replies to all callers, and releases the lock off the response
//! path. While one batch commits, the next one gathers, so the batch size follows the load.
//!
//! A decision that writes may use the row as the lane's last commit left it, because the fence
//! rejects a stale one. A batch of refusals writes nothing that the fence could protect, so it uses
//! a row that was read after its commands had arrived.

use std::{
    sync::{Arc, OnceLock},
    time::{Duration, Instant},
};

use tokio::{
    sync::{mpsc, oneshot, watch},
    time::timeout,
};

use self::{busy_lock::BusyLock, lock_prefetch::LockPrefetch};
use super::{
    Error, Parts,
    backoff::Backoff,
    context::Context,
    decide::Command,
    handover,
    pending::{PendingBatch, PendingCommand},
    trace::{self, BatchTrace},
};
use crate::{
    domain::{Product, ProductId, jitter},
    metrics,
    stock_events::StockEvent,
    store,
};

mod acquire;
mod busy_lock;
mod lock_prefetch;
mod report;
pub(super) mod write;

/// A lane without commands ends after this long.
const IDLE: Duration = Duration::from_secs(10);
/// The share of the request time-out after which a command is too old for a new batch.
const BEGIN_WITHIN: f64 = 0.5;
/// How long this node lets a waiting node write before it tries again; the stock event of the
/// other node's commit ends it early.
const HEAD_START: Duration = Duration::from_millis(5);

#[derive(Debug)]
pub(super) struct Lane {
    product_id: ProductId,
    inbox: mpsc::Receiver<PendingCommand>,
    /// Weak, so that the inbox closes when the registry drops its sender.
    queue: mpsc::WeakSender<PendingCommand>,
    context: Arc<Context>,
    /// The row as this lane's last commit left it.
    cached_product: Option<Product>,
    /// The lock of the level that the row has or will have.
    prefetch: Option<LockPrefetch>,
    /// The lock that the last tries found busy.
    busy_lock: Option<BusyLock>,
    /// Whether the last batch met the reference of another order.
    reference_taken: bool,
    /// Set once the product has been read.
    metrics: Arc<OnceLock<metrics::ProductMetrics>>,
    /// Wakes the lane when another node has written the product.
    changes: watch::Receiver<Option<StockEvent>>,
    /// Identifies this lane to other nodes.
    name: String,
    turns: handover::Turns,
    trace: BatchTrace,
}

/// Why a lane has stopped serving.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Pause {
    /// No command for [`IDLE`].
    Idle,
    /// The product does not exist: the lane must not occupy one of the places of a node.
    NoProduct,
    /// The service stops, and all commands are served.
    Closed,
}

/// Whether the lane's product exists.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Exists {
    Yes,
    No,
}

/// The row that a batch is decided on.
struct ProductRow {
    product: Product,
    source: RowSource,
}

/// Where the row comes from, which decides whether refusals may be based on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum RowSource {
    /// Read after the batch's commands had arrived.
    Database,
    /// This lane's last commit.
    Cache,
}

/// The next step for the batch.
enum Step {
    /// All commands have a reply.
    Done,
    /// All commands were refused: the product does not exist.
    NoProduct,
    /// The row has changed: read and decide again.
    Again,
    /// No quorum for the lock of this level: another node has it.
    Busy,
    /// The database does not answer, or refuses a statement.
    Failed(store::Error),
}

impl Step {
    fn name(&self) -> &'static str {
        match self {
            Self::Done => "done",
            Self::NoProduct => "no_product",
            Self::Again => "again",
            Self::Busy => "busy",
            Self::Failed(_) => trace::FAILED,
        }
    }
}

impl Lane {
    /// A lane and its queue; the lane ends once the queue is dropped and served.
    pub(super) fn new(
        product: ProductId,
        metrics: Arc<OnceLock<metrics::ProductMetrics>>,
        context: Arc<Context>,
    ) -> (Self, mpsc::Sender<PendingCommand>) {
        let (queue, inbox) = mpsc::channel(context.bounds.queue_max);
        let changes = context.parts.stock_events.watch(product);
        let lane = Self {
            product_id: product,
            inbox,
            queue: queue.downgrade(),
            changes,
            context,
            cached_product: None,
            prefetch: None,
            busy_lock: None,
            reference_taken: false,
            metrics,
            name: ProductId::now_v7().to_string(),
            turns: handover::Turns::default(),
            trace: BatchTrace::default(),
        };
        (lane, queue)
    }

    /// Serves batches until there is a reason to pause; [`Lane::serve`] may be called again.
    pub(super) async fn serve(&mut self) -> Pause {
        let mut batch = Vec::new();
        let batch_max = self.context.bounds.batch_max;
        loop {
            if self.inbox.is_empty() {
                self.release_prefetched();
            }
            match timeout(IDLE, self.inbox.recv_many(&mut batch, batch_max)).await {
                Ok(0) => return Pause::Closed,
                Ok(_) => {
                    let pending = PendingBatch::new(std::mem::take(&mut batch));
                    if self.serve_batch(pending).await == Exists::No {
                        return Pause::NoProduct;
                    }
                }
                Err(_) => return Pause::Idle,
            }
        }
    }

    pub(super) fn has_commands(&self) -> bool {
        !self.inbox.is_empty()
    }

    /// Releases the lane's lock and resets its gauge.
    pub(super) fn end(mut self) {
        self.release_prefetched();
        if let Some(metrics) = self.metrics.get() {
            metrics.queue.set(0);
        }
    }

    /// Queues [`Command::ExpireHolds`] behind the pending commands. Without effect while the queue
    /// is full or closed: the expiry job, here or on another node, repeats the command.
    fn queue_expire_holds(&self) {
        let command = PendingCommand::without_caller(Command::ExpireHolds);
        if let Some(queue) = self.queue.upgrade() {
            drop(queue.try_send(command));
        }
    }

    /// Releases a prefetched lock that no batch will use.
    fn release_prefetched(&mut self) {
        if let Some(prefetch) = self.prefetch.take() {
            prefetch.release(&self.parts().tasks);
        }
    }

    fn parts(&self) -> &Parts {
        &self.context.parts
    }

    /// This share of the request time-out.
    fn share_of_timeout(&self, share: f64) -> Duration {
        self.context.bounds.request_timeout.mul_f64(share)
    }

    /// Retries until every command of the batch has a reply; each command has its own age limit.
    async fn serve_batch(&mut self, mut pending: PendingBatch) -> Exists {
        let mut busy = Backoff::busy();
        let mut unreachable = Backoff::unreachable();
        let begun = Instant::now();
        loop {
            pending.drop_abandoned();
            pending.refuse_older(self.share_of_timeout(BEGIN_WITHIN), Error::Unavailable);
            if pending.is_empty() {
                return Exists::Yes;
            }
            match self.traced_attempt(&mut pending, begun).await {
                Step::Done => return Exists::Yes,
                Step::NoProduct => return Exists::No,
                Step::Again => {}
                Step::Busy => {
                    pending.lock_was_busy(self.context.bounds.patience);
                    let redis = self.parts().redis.as_ref();
                    handover::announce_waiting(redis, self.product_id, &self.name).await;
                    self.wait_for_change(busy.next()).await;
                }
                Step::Failed(error) => {
                    self.release_prefetched();
                    if matches!(error, store::Error::Refused(_)) {
                        // A bug, or a foreign schema: a retry changes nothing.
                        pending.refuse_older(Duration::ZERO, Error::Internal);
                    }
                    tokio::time::sleep(unreachable.next()).await;
                }
            }
            let batch_max = self.context.bounds.batch_max;
            pending.top_up(&mut self.inbox, batch_max);
        }
    }

    /// Waits until another node has written the product since the last read, at most `time_max`.
    async fn wait_for_change(&mut self, time_max: Duration) {
        drop(timeout(time_max, self.changes.changed()).await);
    }

    /// One attempt, and its trace if a request of the batch is traced.
    async fn traced_attempt(&mut self, pending: &mut PendingBatch, begun: Instant) -> Step {
        let tracer = &self.parts().tracer;
        self.trace = BatchTrace::begin(tracer, self.product_id, pending);
        let step = self.attempt(pending, begun).await;
        if let Step::Failed(error) = &step {
            self.log_failure(error);
        }
        let trace = std::mem::take(&mut self.trace);
        trace.record(&self.parts().tracer, step.name(), pending);
        step
    }

    /// One attempt: read, lock, write, reply, release.
    async fn attempt(&mut self, pending: &mut PendingBatch, begun: Instant) -> Step {
        let row = match self.row(pending).await {
            Ok(Some(row)) => row,
            Ok(None) => {
                self.trace.end();
                pending.reply_no_product();
                return Step::NoProduct;
            }
            Err(error) => return Step::Failed(error),
        };
        let product = &row.product;
        self.update_gauges(product);
        // Told once this node knows whether another one waits for the product.
        let (tell, alone) = oneshot::channel();
        if !pending.may_write(product) {
            return Box::pin(self.write_and_reply(pending, &row, alone)).await;
        }
        let guard = match self.lock(product, begun).await {
            Ok(guard) => guard,
            Err(busy) => return busy,
        };
        let (redis, name) = (self.parts().redis.clone(), self.name.clone());
        let rival = async move {
            let rival = handover::other_node_waits(redis.as_ref(), product.id, &name).await;
            // Without an answer, another node may wait for its turn.
            let _ = tell.send(rival == Some(false));
            rival
        };
        let write = Box::pin(self.write_and_reply(pending, &row, alone));
        let (step, rival) = handover::alongside(write, rival).await;
        if let Some(guard) = guard {
            let cached = self.cached_product.as_ref();
            let same_level =
                cached.is_none_or(|cached| cached.stock.on_hand == product.stock.on_hand);
            self.release_lock(guard, same_level).await;
        }
        if self.turns.yields_turn(rival) {
            self.cached_product = None;
            self.wait_for_change(jitter(HEAD_START)).await;
        }
        step
    }

    /// The row to decide on; `None` when the product does not exist.
    async fn row(&mut self, pending: &PendingBatch) -> Result<Option<ProductRow>, store::Error> {
        let newest = self.changes.borrow_and_update().map(|event| event.version);
        // A row that another node has written since would only be rejected by the fence.
        let cached = self.cached_product.take().filter(|product| {
            newest.is_none_or(|newest| newest <= product.version) && pending.may_write(product)
        });
        if let Some(product) = cached {
            let source = RowSource::Cache;
            return Ok(Some(ProductRow { product, source }));
        }
        self.begin_statement("read");
        let product = self.parts().store.product_for_write(self.product_id);
        let product = product.await?;
        self.trace.end_step();
        let source = RowSource::Database;
        Ok(product.map(|product| ProductRow { product, source }))
    }

    fn begin_statement(&mut self, name: &'static str) {
        let database = self.parts().store.system();
        self.trace.begin_statement(name, database);
    }
}
