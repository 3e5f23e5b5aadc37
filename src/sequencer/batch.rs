//! Writes one batch: reads facts, decides and writes the changes in one transaction.
//!
//! The fence makes it safe without any lock: after any other write of the product since the row
//! was read, the update of this batch matches no row.

use chrono::{DateTime, Utc};

use super::{
    decide::{Decision, Facts, decide},
    facts::facts,
    pending::PendingBatch,
    trace::BatchTrace,
};
use crate::{
    domain::Product,
    store::{Constraint, Error, Release, StockChange, Transaction},
};

/// The result of writing a batch.
#[derive(Debug)]
pub(super) enum Written {
    /// Durable; the product afterwards.
    Committed(Box<Product>),
    /// Nothing to write.
    Unchanged,
    /// The rows have changed since they were read: read and decide again.
    Stale,
    /// The reference of a new order exists: decide again, with references that are looked up.
    ReferenceTaken,
}

/// Draws the references of new orders.
#[derive(Clone, Copy, Debug)]
pub(super) struct References {
    pub(super) draw: fn() -> String,
    /// Whether they are looked up before they are inserted, so that only the orders whose reference
    /// exists get another one. A random reference is looked up only after one was taken: the look-up
    /// would cost every batch a statement, and a taken one occurs once in millions of batches.
    pub(super) look_up: bool,
}

/// Draws for an order whose reference exists; then the insert meets it, and the batch is tried again.
const DRAWS_MAX: usize = 64;

/// A batch of commands for one product. It outlives a write that times out, and then shows whether
/// the commit had begun.
#[derive(Debug)]
pub(super) struct Batch<'a> {
    product: &'a Product,
    pending: &'a PendingBatch,
    /// The database's time.
    at: DateTime<Utc>,
    references: References,
    decision: Decision,
    may_be_durable: bool,
    trace: BatchTrace,
}

impl<'a> Batch<'a> {
    pub(super) fn new(
        product: &'a Product,
        pending: &'a PendingBatch,
        at: DateTime<Utc>,
        references: References,
    ) -> Self {
        Self {
            product,
            pending,
            at,
            references,
            decision: Decision::default(),
            may_be_durable: false,
            trace: BatchTrace::default(),
        }
    }

    /// Adds the statements of the batch to its trace.
    pub(super) fn traced(self, trace: BatchTrace) -> Self {
        Self { trace, ..self }
    }

    /// Decides the batch and writes the decision.
    ///
    /// `before_commit` is called with the stock on hand after the batch, if that has changed.
    /// Without a transaction there must be nothing to look up or to write.
    pub(super) async fn decide_and_commit(
        &mut self,
        transaction: Option<Transaction>,
        before_commit: impl FnOnce(i32),
    ) -> Result<Written, Error> {
        let (product, at) = (self.product, self.at);
        let facts = match &transaction {
            Some(transaction) => {
                self.begin_statement("facts", transaction);
                let facts = facts(transaction, product, self.pending, at).await?;
                self.trace.end_step();
                facts
            }
            None => Facts::default(),
        };
        let more = facts.has_more_holds();
        let commands = self.pending.commands();
        self.decision = decide(product, facts, commands, at, self.references.draw);
        self.decision.more |= more;
        let Some(transaction) = transaction.filter(|_| self.decision.has_changes(product)) else {
            return Ok(Written::Unchanged);
        };
        if self.references.look_up {
            self.redraw_references(&transaction).await?;
        }
        self.begin_statement("write", &transaction);
        match self.send_changes(&transaction).await {
            Ok(true) => self.trace.end_step(),
            Ok(false) => return Ok(Written::Stale),
            Err(Error::Violates(Constraint::Reference)) => return Ok(Written::ReferenceTaken),
            Err(error) => return Err(error),
        }
        if self.decision.stock.on_hand != product.stock.on_hand {
            before_commit(self.decision.stock.on_hand);
        }
        self.begin_statement("commit", &transaction);
        self.may_be_durable = true;
        match transaction.commit().await {
            Ok(()) => {
                self.trace.end_step();
                let after = after(product, &self.decision, at);
                Ok(Written::Committed(Box::new(after)))
            }
            Err(error) => {
                self.may_be_durable = matches!(error, Error::CommitUnknown(_));
                Err(error)
            }
        }
    }

    /// Draws another reference for each new order whose reference exists.
    async fn redraw_references(&mut self, transaction: &Transaction) -> Result<(), Error> {
        for _ in 0..DRAWS_MAX {
            let drawn = self.decision.references();
            let taken = transaction.taken_references(drawn).await?;
            if !self.decision.redraw(taken, self.references.draw) {
                break;
            }
        }
        Ok(())
    }

    /// Sends the decision's changes; false when the rows have changed since they were read.
    async fn send_changes(&mut self, transaction: &Transaction) -> Result<bool, Error> {
        let product = self.product;
        let decision = &mut self.decision;
        let change = StockChange {
            product_id: product.id,
            version: product.version,
            stock: decision.stock,
        };
        if decision.only_sells() {
            return transaction
                .sell_orders(change, &decision.new, self.at)
                .await;
        }
        if !transaction.write_stock(change, self.at).await? {
            return Ok(false);
        }
        for release in Release::ALL {
            let orders = decision.released_by(release);
            // The buyer may have begun to pay since the order was read.
            if !transaction
                .release_orders(product.id, release, &orders)
                .await?
            {
                return Ok(false);
            }
        }
        transaction.insert_orders(&decision.new).await?;
        // Before the new entries: a user who left may have joined again.
        let ended = transaction
            .leave_entries(product.id, &decision.left)
            .await?
            && transaction
                .offer_entries(product.id, &decision.offered)
                .await?;
        transaction.insert_entries(&decision.joined).await?;
        transaction.insert_audit(&decision.audit).await?;
        Ok(ended)
    }

    /// Whether the commit was sent, so that the batch may be durable.
    pub(super) fn may_be_durable(&self) -> bool {
        self.may_be_durable
    }

    pub(super) fn into_decision(self) -> (Decision, BatchTrace) {
        (self.decision, self.trace)
    }

    fn begin_statement(&mut self, name: &'static str, transaction: &Transaction) {
        self.trace.begin_statement(name, transaction.system());
    }
}

/// The product as the decision leaves it.
fn after(before: &Product, decision: &Decision, at: DateTime<Utc>) -> Product {
    Product {
        stock: decision.stock,
        version: before.version + 1,
        updated_at: at,
        ..before.clone()
    }
}
