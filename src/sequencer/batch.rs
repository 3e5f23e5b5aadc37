//! Writes one batch: reads facts, decides, and writes the changes atomically.
//!
//! The fence makes it safe without any lock: after any other write of the product since the row
//! was read, the update of this batch matches no row. A batch that only sells therefore needs no
//! transaction around its facts and its one statement.

use chrono::{DateTime, Utc};

use super::{
    decide::{Decision, Facts, decide},
    facts::facts,
    lane::RowSource,
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
    source: RowSource,
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
        source: RowSource,
    ) -> Self {
        Self {
            product,
            pending,
            at,
            references,
            source,
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
    /// `before_commit` is called with the stock on hand after the batch, if that changes, before
    /// the statement that commits. Without a transaction there must be nothing to look up or to
    /// write.
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
        let Some(transaction) = transaction else {
            return Ok(Written::Unchanged);
        };
        if !self.decision.has_changes(product) {
            self.end_unchanged(transaction).await?;
            return Ok(Written::Unchanged);
        }
        if self.references.look_up {
            self.redraw_references(&transaction).await?;
        }
        let on_hand = self.decision.stock.on_hand;
        let before_commit = || {
            if on_hand != product.stock.on_hand {
                before_commit(on_hand);
            }
        };
        if transaction.commits_by_itself() {
            self.write(&transaction, before_commit).await
        } else {
            self.write_and_commit(transaction, before_commit).await
        }
    }

    /// Ends a batch that changes nothing. What its replies tell of earlier writes is made durable
    /// before, unless the batch is decided again on a row that is read.
    async fn end_unchanged(&mut self, transaction: Transaction) -> Result<(), Error> {
        if self.source == RowSource::Database && self.decision.tells_of_writes() {
            self.begin_statement("standbys", &transaction);
            transaction.end_durably(self.product.id).await?;
            self.trace.end_step();
        }
        Ok(())
    }

    /// Writes the decision with one statement, which commits.
    async fn write(
        &mut self,
        transaction: &Transaction,
        before_commit: impl FnOnce(),
    ) -> Result<Written, Error> {
        before_commit();
        self.begin_statement("write", transaction);
        self.may_be_durable = true;
        let sent = self.send_changes(transaction).await;
        // An error of the server means that it has not committed.
        self.may_be_durable = matches!(sent, Err(Error::CommitUnknown(_)));
        if let Some(not_written) = not_written(sent)? {
            return Ok(not_written);
        }
        self.trace.end_step();
        Ok(self.committed())
    }

    /// Writes the decision with several statements, and commits them.
    async fn write_and_commit(
        &mut self,
        transaction: Transaction,
        before_commit: impl FnOnce(),
    ) -> Result<Written, Error> {
        self.begin_statement("write", &transaction);
        let sent = self.send_changes(&transaction).await;
        if let Some(not_written) = not_written(sent)? {
            return Ok(not_written);
        }
        self.trace.end_step();
        before_commit();
        self.begin_statement("commit", &transaction);
        self.may_be_durable = true;
        let committed = transaction.commit().await;
        self.may_be_durable = matches!(committed, Err(Error::CommitUnknown(_)));
        committed?;
        self.trace.end_step();
        Ok(self.committed())
    }

    fn committed(&self) -> Written {
        let after = after(self.product, &self.decision, self.at);
        Written::Committed(Box::new(after))
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
            before: product,
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

    /// Whether the statement that commits was sent, so that the batch may be durable.
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

/// The result of a batch whose changes were sent and are not written; `None` if they are.
fn not_written(sent: Result<bool, Error>) -> Result<Option<Written>, Error> {
    match sent {
        Ok(true) => Ok(None),
        Ok(false) => Ok(Some(Written::Stale)),
        Err(Error::Violates(Constraint::Reference)) => Ok(Some(Written::ReferenceTaken)),
        Err(error) => Err(error),
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
