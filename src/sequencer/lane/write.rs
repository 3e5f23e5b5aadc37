//! The lane's write step: claims the batch, writes it within its time, settles a lost commit.

use std::time::Instant;

use tokio::{
    sync::{mpsc, oneshot},
    time::timeout,
};

use super::{
    super::{
        Error,
        batch::{Batch, References, Written},
        decide::Decision,
        pending::{PendingBatch, PendingCommand},
        settle::{self, CommitStatus},
    },
    Lane, LockPrefetch, ProductRow, RowSource, Step,
};
use crate::{
    domain::Product,
    stock_events::StockEvent,
    store::{self, Transaction},
};

/// The share of the request time-out after which a command is too old to be claimed.
const CLAIM_WITHIN: f64 = 0.65;
/// The share that writing a batch may take.
pub(in crate::sequencer) const WRITE_WITHIN: f64 = 0.25;
/// The share that settling a lost commit may take; callers that time out meanwhile get
/// `outcome_unknown`.
const SETTLE_WITHIN: f64 = 0.25;

impl Lane {
    /// Writes the batch and replies to it.
    ///
    /// While it commits, the next level's lock is prefetched, once this node is told that it is
    /// `alone`.
    pub(super) async fn write_and_reply(
        &mut self,
        pending: &mut PendingBatch,
        row: &ProductRow,
        alone: oneshot::Receiver<bool>,
    ) -> Step {
        let product = &row.product;
        // Before the claim: callers may abandon commands that wait for a connection.
        let transaction = match self.begin(pending, product).await {
            Ok(transaction) => transaction,
            Err(error) => return Step::Failed(error),
        };
        pending.refuse_older(self.share_of_timeout(CLAIM_WITHIN), Error::Unavailable);
        pending.claim();
        let references = References {
            draw: self.parts().draw_reference,
            look_up: self.reference_taken,
        };
        let at = self.parts().store.now();
        let trace = std::mem::take(&mut self.trace);
        let mut batch = Batch::new(product, pending, at, references, row.source).traced(trace);
        let written = self.write_in_time(&mut batch, transaction, alone).await;
        let may_be_durable = batch.may_be_durable();
        let (decision, trace) = batch.into_decision();
        self.trace = trace;
        match written {
            Ok(Written::Committed(after)) => {
                self.report_sold_out(product, &after);
                self.committed(pending, decision, *after);
                Step::Done
            }
            Ok(Written::Unchanged) if row.source == RowSource::Database => {
                self.reply(pending, decision, product);
                Step::Done
            }
            Ok(Written::Unchanged) => {
                pending.unclaim();
                Step::Again
            }
            Ok(Written::Stale) => {
                pending.unclaim();
                if let Some(metrics) = self.metrics.get() {
                    metrics.fence_rejected.increment(1);
                }
                Step::Again
            }
            Ok(Written::ReferenceTaken) => {
                pending.unclaim();
                self.reference_taken = true;
                Step::Again
            }
            Err(error) if may_be_durable => {
                self.log_failure(&error);
                self.settle(pending, product, decision).await
            }
            Err(error) => {
                pending.unclaim();
                Step::Failed(error)
            }
        }
    }

    /// A transaction, or a connection for the one statement of a batch that can only sell.
    async fn begin(
        &mut self,
        pending: &PendingBatch,
        product: &Product,
    ) -> Result<Option<Transaction>, store::Error> {
        if !pending.need_transaction(product) {
            return Ok(None);
        }
        let transaction = if self.parts().store.is_postgres() && pending.may_only_sell(product) {
            self.begin_statement("connection");
            self.parts().store.begin_self_committing().await?
        } else {
            self.begin_statement("begin");
            self.parts().store.begin().await?
        };
        self.trace.end_step();
        Ok(Some(transaction))
    }

    /// Writes the batch within its share of the request time-out.
    async fn write_in_time(
        &mut self,
        batch: &mut Batch<'_>,
        transaction: Option<Transaction>,
        alone: oneshot::Receiver<bool>,
    ) -> Result<Written, store::Error> {
        let parts = self.parts();
        let mut prefetch = None;
        let before_commit = |on_hand| {
            if on_hand > 0 {
                let wanted = is_wanted(alone, self.queue.clone());
                let (lock, tasks) = (&parts.lock, &parts.tasks);
                let started = LockPrefetch::start(lock, self.product_id, on_hand, tasks, wanted);
                prefetch = Some(started);
            }
        };
        let writing = batch.decide_and_commit(transaction, before_commit);
        let written = match timeout(self.share_of_timeout(WRITE_WITHIN), writing).await {
            Ok(written) => written,
            Err(_) => Err(parts.store.mark_silent()),
        };
        if let Err(error) = &written {
            parts.store.note_failure(error);
        }
        if prefetch.is_some() {
            self.release_prefetched();
            self.prefetch = prefetch;
        }
        if !matches!(written, Ok(Written::Committed(_))) {
            self.release_prefetched();
        }
        written
    }

    /// Settles a commit whose answer was lost, and replies accordingly.
    async fn settle(
        &mut self,
        pending: &mut PendingBatch,
        before: &Product,
        decision: Decision,
    ) -> Step {
        let deadline = Instant::now() + self.share_of_timeout(SETTLE_WITHIN);
        let store = &self.parts().store;
        match settle::commit_status(store, before, &decision, deadline).await {
            CommitStatus::Committed(product) => {
                self.report_sold_out(before, &product);
                self.committed(pending, decision, *product);
                Step::Done
            }
            CommitStatus::RolledBack => {
                pending.unclaim();
                Step::Again
            }
            CommitStatus::Unknown => {
                self.trace.end();
                pending.fail_unknown(&decision.replies);
                Step::Done
            }
        }
    }

    /// Publishes a durable batch and replies to it.
    fn committed(&mut self, pending: &mut PendingBatch, mut decision: Decision, product: Product) {
        if let Some(metrics) = self.metrics.get() {
            metrics.units.increment(decision.units());
            metrics.stock.set(product.stock.on_hand);
        }
        self.reference_taken = false;
        let parts = self.parts();
        parts.stock_events.publish(StockEvent::from(&product));
        let affected_users = std::mem::take(&mut decision.affected_users);
        parts.user_events.publish(affected_users);
        // Only the commits of other nodes wake this lane.
        self.changes.mark_unchanged();
        self.report_changes(&decision);
        if decision.more {
            self.queue_expire_holds();
        }
        self.reply(pending, decision, &product);
        self.busy_lock = self
            .busy_lock
            .take()
            .and_then(|busy| busy.written((&product).into()));
        self.cached_product = Some(product);
    }
}

/// Whether a prefetched lock would be used: this node is `alone`, and has orders for a next batch.
async fn is_wanted(
    alone: oneshot::Receiver<bool>,
    queue: mpsc::WeakSender<PendingCommand>,
) -> bool {
    let has_orders = |queue: mpsc::Sender<_>| queue.capacity() < queue.max_capacity();
    alone.await == Ok(true) && queue.upgrade().is_some_and(has_orders)
}
