//! Learns what became of a commit whose answer was lost.
//!
//! On a new connection the product's row is locked: whoever gets that lock knows that the lost
//! transaction has ended, one way or the other. Then what it wrote is there as a whole, or not at all.

use std::time::{Duration, Instant};

use super::{backoff::Backoff, decide::Decision};
use crate::{
    domain::Product,
    store::{Error, Release, Store, Transaction},
};

/// What the database knows of a lost commit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Fate {
    /// What was wanted is so; the product's row by now, which others may have written since.
    Committed(Box<Product>),
    RolledBack,
    /// Not to be learned in time.
    Unknown,
}

/// A look takes no longer, or the database is still away.
const LOOK_TIMEOUT: Duration = Duration::from_secs(1);

/// Looks until it is known, or `deadline` has passed.
pub(super) async fn fate(
    store: &Store,
    before: &Product,
    decision: &Decision,
    deadline: Instant,
) -> Fate {
    let mut backoff = Backoff::unreachable();
    loop {
        match tokio::time::timeout(LOOK_TIMEOUT, look(store, before, decision)).await {
            Ok(Ok(fate)) => return fate,
            Ok(Err(error)) => tracing::debug!(%error, "cannot look up a lost commit: {error}"),
            Err(_) => drop(store.silent()),
        }
        if Instant::now() >= deadline {
            return Fate::Unknown;
        }
        tokio::time::sleep(backoff.next()).await;
    }
}

async fn look(store: &Store, before: &Product, decision: &Decision) -> Result<Fate, Error> {
    let transaction = store.begin().await?;
    let Some(row) = transaction.lock_product(before.id).await? else {
        return Ok(Fate::RolledBack);
    };
    if row.version == before.version {
        return Ok(Fate::RolledBack);
    }
    Ok(match is_there(&transaction, before, decision).await? {
        Some(true) => Fate::Committed(Box::new(row)),
        Some(false) => Fate::RolledBack,
        None => Fate::Unknown,
    })
}

/// Whether the decision was written; nothing where that leaves no trace of its own.
async fn is_there(
    transaction: &Transaction,
    before: &Product,
    decision: &Decision,
) -> Result<Option<bool>, Error> {
    if let Some(new) = decision.new.orders.first() {
        return Ok(Some(transaction.has_order(new.order.id).await?));
    }
    if let Some(new) = decision.joined.first() {
        return Ok(Some(transaction.has_entry(new.entry.id).await?));
    }
    let nothing_ended = decision.released.is_empty() && decision.left.is_empty();
    if nothing_ended || decision.stock_total != before.stock_total {
        return Ok(None);
    }
    // Another node may have ended some of the same orders: only all of them are this decision.
    for release in Release::ALL {
        let orders = decision.released(release);
        if !transaction.are_released(release, &orders).await? {
            return Ok(Some(false));
        }
    }
    Ok(Some(transaction.have_left(&decision.left).await?))
}
