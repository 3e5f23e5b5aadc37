//! Learns what became of a commit whose answer was lost.
//!
//! On a new connection the product's row is locked: whoever gets that lock knows that the lost
//! transaction has ended, one way or the other. Then the batch's first row is there, or nothing is.

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
    if let Some(new) = decision.new.orders.first() {
        return Ok(either(transaction.has_order(new.order.id).await?));
    }
    if let Some(new) = decision.joined.first() {
        return Ok(either(transaction.has_entry(new.entry.id).await?));
    }
    if decision.stock_total != before.stock_total {
        // A restock leaves no row of its own to look for.
        return Ok(Fate::Unknown);
    }
    match decision.released.first() {
        // Whoever released it: what was wanted is so.
        Some((order, release)) => {
            let status = transaction.status_of(*order).await?;
            Ok(either(status == Some(release.status())))
        }
        None => Ok(Fate::Unknown),
    }
}

fn either(is_there: bool) -> Fate {
    if is_there {
        Fate::Committed
    } else {
        Fate::RolledBack
    }
}
