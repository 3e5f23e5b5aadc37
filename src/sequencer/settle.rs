//! Learns what became of a commit whose answer was lost.
//!
//! On a new connection the product's row is locked: whoever gets that lock knows that the lost
//! transaction has ended, one way or the other. Then the batch's first order is there, or nothing is.

use std::time::{Duration, Instant};

use super::{backoff::Backoff, decide::Decision};
use crate::{
    domain::Product,
    store::{Error, Store},
};

/// What the database knows of a lost commit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fate {
    Committed,
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
    match decision.new.orders.first() {
        Some((order, _)) if transaction.has_order(order.id).await? => Ok(Fate::Committed),
        Some(_) => Ok(Fate::RolledBack),
        // A restock leaves no row of its own to look for.
        None => Ok(Fate::Unknown),
    }
}
