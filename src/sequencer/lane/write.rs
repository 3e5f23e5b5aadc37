//! How a lane writes a batch, and what it makes of the result.

use std::{
    sync::atomic::{AtomicBool, Ordering::Relaxed},
    time::Instant,
};

use tokio::time::timeout;

use super::{
    super::{
        Error,
        asks::Asks,
        batch::{Batch, Written},
        decide::Decision,
        settle::{self, Fate},
    },
    Ahead, Lane, Step,
};
use crate::{
    domain::Product,
    events::Stock,
    store::{self, Transaction},
};

/// The share after which a wish is no longer taken into a transaction that has just begun.
const TAKE_WITHIN: f64 = 0.65;
/// The share that writing a batch may take.
const WRITE_WITHIN: f64 = 0.25;
/// The share that learning an unknown outcome may take; its callers hear `outcome_unknown` before.
const SETTLE_WITHIN: f64 = 0.25;

impl Lane {
    /// Writes the batch and answers it.
    ///
    /// While it commits, the next level's lock is taken, if this node is `alone` by then.
    pub(super) async fn write(
        &mut self,
        asks: &mut Asks,
        product: &Product,
        fresh: bool,
        alone: &AtomicBool,
    ) -> Step {
        let store = &self.context().store;
        let transaction = if asks.need_transaction(product) {
            // Before the wishes are taken: waiting for a connection harms nobody but who waits.
            match store.begin().await {
                Ok(transaction) => Some(transaction),
                Err(error) => return Step::Failed(error),
            }
        } else {
            None
        };
        asks.refuse_older(self.within(TAKE_WITHIN), Error::Unavailable);
        asks.take();
        let mut batch = Batch::new(product, asks, store.now());
        let written = self.write_batch(&mut batch, transaction, alone).await;
        let may_be_durable = batch.may_be_durable();
        let decision = batch.into_decision();
        match written {
            Ok(Written::Committed(product)) => {
                self.committed(asks, decision, *product);
                Step::Done
            }
            Ok(Written::Unchanged) if fresh => {
                self.answer(asks, decision, product);
                Step::Done
            }
            Ok(Written::Unchanged) => {
                asks.put_back();
                Step::Again
            }
            Ok(Written::Fenced) => {
                asks.put_back();
                if let Some(metrics) = self.metrics.get() {
                    metrics.fence_rejected.increment(1);
                }
                Step::Again
            }
            Err(error) if may_be_durable => {
                self.complain(&error);
                self.settle(asks, product, decision).await
            }
            Err(error) => {
                asks.put_back();
                Step::Failed(error)
            }
        }
    }

    /// Writes the batch within its time.
    async fn write_batch(
        &mut self,
        batch: &mut Batch<'_>,
        transaction: Option<Transaction>,
        alone: &AtomicBool,
    ) -> Result<Written, store::Error> {
        let context = self.context();
        let mut ahead = None;
        let before_commit = |stock| {
            if stock > 0 && alone.load(Relaxed) && !self.inbox.is_empty() {
                let (lock, tasks) = (&context.lock, &context.tasks);
                ahead = Some(Ahead::begin(lock, self.product_id, stock, tasks));
            }
        };
        let writing = batch.write(transaction, before_commit);
        let written = match timeout(self.within(WRITE_WITHIN), writing).await {
            Ok(written) => written,
            Err(_) => Err(context.store.silent()),
        };
        if ahead.is_some() {
            self.give_back();
            self.ahead = ahead;
        }
        if !matches!(written, Ok(Written::Committed(_))) {
            self.give_back();
        }
        written
    }

    /// Answers by what the database says of a commit whose answer was lost.
    async fn settle(&mut self, asks: &mut Asks, before: &Product, decision: Decision) -> Step {
        let deadline = Instant::now() + self.within(SETTLE_WITHIN);
        match settle::fate(&self.context().store, before, &decision, deadline).await {
            Fate::Committed(product) => {
                self.committed(asks, decision, *product);
                Step::Done
            }
            Fate::RolledBack => {
                asks.put_back();
                Step::Again
            }
            Fate::Unknown => {
                asks.answer_unknown(&decision.verdicts);
                Step::Done
            }
        }
    }

    fn committed(&mut self, asks: &mut Asks, mut decision: Decision, product: Product) {
        if let Some(metrics) = self.metrics.get() {
            metrics.units.increment(decision.units());
            metrics.stock.set(product.stock);
        }
        self.context().events.changed(Stock::from(&product));
        self.changes.mark_unchanged();
        self.tell_of_changes(&decision);
        let concerned = std::mem::take(&mut decision.concerned);
        self.context().news.concerns(concerned);
        if decision.more {
            self.lanes.tend(self.product_id);
        }
        self.answer(asks, decision, &product);
        self.known = Some(product);
    }
}
