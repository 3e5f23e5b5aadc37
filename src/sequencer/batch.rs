//! The writing of one batch: facts, decision and change in one transaction.
//!
//! The version guard makes it safe without any lock: whoever wrote the product since our row was
//! read makes our change match nothing.

use chrono::{DateTime, Utc};

use super::{
    asks::Asks,
    decide::{Decision, Facts, decide},
    facts::facts,
};
use crate::{
    domain::{Product, reference},
    store::{Constraint, Error, Release, StockChange, Transaction},
};

/// What came of a batch.
#[derive(Debug)]
pub(super) enum Written {
    /// Durable; the product afterwards.
    Committed(Box<Product>),
    /// Nothing to write.
    Unchanged,
    /// Somebody wrote first: read again, decide again.
    Fenced,
}

/// Wishes for a product, on their way into the database. It outlives a write that is given up,
/// and then tells how far that came.
#[derive(Debug)]
pub(super) struct Batch<'a> {
    product: &'a Product,
    asks: &'a Asks,
    /// The database's time.
    at: DateTime<Utc>,
    decision: Decision,
    committing: bool,
}

impl<'a> Batch<'a> {
    pub(super) fn new(product: &'a Product, asks: &'a Asks, at: DateTime<Utc>) -> Self {
        Self {
            product,
            asks,
            at,
            decision: Decision::default(),
            committing: false,
        }
    }

    /// Decides, and writes the decision.
    ///
    /// `before_commit` hears the stock that will be left, if it is another. Without a transaction
    /// it is known that there is nothing to look up or to write.
    pub(super) async fn write(
        &mut self,
        transaction: Option<Transaction>,
        before_commit: impl FnOnce(i32),
    ) -> Result<Written, Error> {
        let (product, at) = (self.product, self.at);
        let facts = match &transaction {
            Some(transaction) => facts(transaction, product, self.asks, at).await?,
            None => Facts::default(),
        };
        let more = facts.is_not_all();
        self.decision = decide(product, facts, self.asks.wishes(), at, reference);
        self.decision.more |= more;
        let Some(transaction) = transaction.filter(|_| self.decision.changes(product)) else {
            return Ok(Written::Unchanged);
        };
        match self.change(&transaction).await {
            Ok(true) => {}
            Ok(false) => return Ok(Written::Fenced),
            // The key was used for another product meanwhile, or a reference was drawn twice.
            Err(Error::Violates(Constraint::IdempotencyKey | Constraint::Reference)) => {
                return Ok(Written::Fenced);
            }
            Err(error) => return Err(error),
        }
        if self.decision.stock != product.stock {
            before_commit(self.decision.stock);
        }
        self.committing = true;
        match transaction.commit().await {
            Ok(()) => Ok(Written::Committed(Box::new(after(
                product,
                &self.decision,
                at,
            )))),
            Err(error) => {
                self.committing = matches!(error, Error::CommitUnknown(_));
                Err(error)
            }
        }
    }

    /// Sends the decision's changes; false when somebody wrote before us.
    async fn change(&mut self, transaction: &Transaction) -> Result<bool, Error> {
        let product = self.product;
        let decision = &mut self.decision;
        let change = StockChange {
            product_id: product.id,
            version: product.version,
            stock: decision.stock,
            stock_total: decision.stock_total,
            stock_reserved: decision.stock_reserved,
        };
        if decision.only_sells() {
            decision.new.sort_by_key();
            return transaction.sell(change, &decision.new, self.at).await;
        }
        if !transaction.write_stock(change, self.at).await? {
            return Ok(false);
        }
        for release in Release::ALL {
            let orders = decision.released(release);
            // A buyer may have begun to pay meanwhile.
            if !transaction.release_orders(release, &orders).await? {
                return Ok(false);
            }
        }
        decision.new.sort_by_key();
        transaction.insert_orders(&decision.new).await?;
        // Before the new entries: whoever leaves may have joined again.
        let ended = transaction.leave(&decision.left).await?
            && transaction.offer_entries(&decision.offered).await?;
        transaction.insert_entries(&decision.joined).await?;
        Ok(ended)
    }

    /// Whether the outcome is in the database's hands.
    pub(super) fn may_be_durable(&self) -> bool {
        self.committing
    }

    pub(super) fn into_decision(self) -> Decision {
        self.decision
    }
}

/// The product as the decision leaves it.
fn after(before: &Product, decision: &Decision, at: DateTime<Utc>) -> Product {
    Product {
        stock: decision.stock,
        stock_total: decision.stock_total,
        stock_reserved: decision.stock_reserved,
        version: before.version + 1,
        updated_at: at,
        ..before.clone()
    }
}
