//! How a lane writes a batch, and what it makes of the result.

use std::time::Instant;

use tokio::time::timeout;

use super::{
    super::{
        Error,
        asks::Asks,
        batch::{self, Batch, Written},
        decide::Decision,
        settle::{self, Fate},
    },
    Lane, Step,
};
use crate::{domain::Product, events::Stock};

/// The share after which a wish is no longer taken into a transaction that has just begun.
const TAKE_WITHIN: f64 = 0.65;
/// The share that writing a batch may take.
const WRITE_WITHIN: f64 = 0.25;
/// The share that learning an unknown outcome may take; its callers hear `outcome_unknown` before.
const SETTLE_WITHIN: f64 = 0.25;
impl Lane {
    /// Writes the batch and answers it.
    pub(super) async fn write(&mut self, asks: &mut Asks, product: &Product, fresh: bool) -> Step {
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
        let written = match timeout(self.within(WRITE_WITHIN), batch.write(transaction)).await {
            Ok(written) => written,
            Err(_) => Err(store.silent()),
        };
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

    /// Answers by what the database says of a commit whose answer was lost.
    async fn settle(&mut self, asks: &mut Asks, before: &Product, decision: Decision) -> Step {
        let deadline = Instant::now() + self.within(SETTLE_WITHIN);
        match settle::fate(&self.context().store, before, &decision, deadline).await {
            Fate::Committed => {
                let after = batch::after(before, &decision, before.updated_at);
                self.committed(asks, decision, after);
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
