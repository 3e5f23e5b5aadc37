//! The writing of one batch: facts, decision and change in one transaction.
//!
//! The version guard makes it safe without any lock: whoever wrote the product since our row was
//! read makes our change match nothing.

use std::sync::Arc;

use chrono::{DateTime, Utc};

use super::{
    asks::Asks,
    decide::{Decision, Facts, Wish, decide},
};
use crate::{
    domain::{OrderRequest, Product, now, reference},
    store::{Constraint, Error, StockChange, Transaction},
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
    decision: Decision,
    committing: bool,
}

impl<'a> Batch<'a> {
    pub(super) fn new(product: &'a Product, asks: &'a Asks) -> Self {
        Self {
            product,
            asks,
            decision: Decision::default(),
            committing: false,
        }
    }

    /// Decides, and writes the decision.
    ///
    /// Without a transaction it is known that there is nothing to look up or to write.
    pub(super) async fn write(
        &mut self,
        transaction: Option<Transaction>,
    ) -> Result<Written, Error> {
        let product = self.product;
        let facts = match &transaction {
            Some(transaction) => facts(transaction, product, self.asks).await?,
            None => Facts::default(),
        };
        let at = now();
        self.decision = decide(product, facts, self.asks.wishes(), at, reference);
        let Some(transaction) = transaction.filter(|_| self.decision.changes(product)) else {
            return Ok(Written::Unchanged);
        };
        let change = StockChange {
            product_id: product.id,
            version: product.version,
            stock: self.decision.stock,
            stock_total: self.decision.stock_total,
        };
        if !transaction.write_stock(change, at).await? {
            return Ok(Written::Fenced);
        }
        self.decision.new.sort_by_key();
        match transaction.insert_orders(&self.decision.new).await {
            Ok(()) => {}
            // The key was used for another product meanwhile, or a reference was drawn twice.
            Err(Error::Violates(Constraint::IdempotencyKey | Constraint::Reference)) => {
                return Ok(Written::Fenced);
            }
            Err(error) => return Err(error),
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

    /// Whether the outcome is in the database's hands.
    pub(super) fn may_be_durable(&self) -> bool {
        self.committing
    }

    pub(super) fn into_decision(self) -> Decision {
        self.decision
    }
}

/// The product as the decision leaves it.
pub(super) fn after(before: &Product, decision: &Decision, at: DateTime<Utc>) -> Product {
    Product {
        stock: decision.stock,
        stock_total: decision.stock_total,
        version: before.version + 1,
        updated_at: at,
        ..before.clone()
    }
}

async fn facts(transaction: &Transaction, product: &Product, asks: &Asks) -> Result<Facts, Error> {
    let mut facts = Facts::default();
    let keys: Vec<_> = requests(asks)
        .filter_map(|request| {
            let key = request.key.as_ref()?;
            Some((Arc::clone(&request.user_id), key.key.clone()))
        })
        .collect();
    if !keys.is_empty() {
        facts.known = transaction.known_orders(keys).await?;
    }
    if product.max_per_user.is_some() {
        let users: Vec<_> = requests(asks)
            .map(|request| Arc::clone(&request.user_id))
            .collect();
        if !users.is_empty() {
            facts.held = transaction.held_units(product.id, users).await?;
        }
    }
    Ok(facts)
}

fn requests(asks: &Asks) -> impl Iterator<Item = &OrderRequest> {
    asks.wishes().filter_map(|wish| match wish {
        Wish::Order(request) => Some(&**request),
        Wish::Restock(_) => None,
    })
}
