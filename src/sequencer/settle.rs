//! Settles a commit whose answer was lost: finds out whether the database committed it, by a write.
//!
//! A read proves nothing: the lost statement may still be on its way to the server, and what a
//! commit wrote is visible even if its wait for the standbys was interrupted. So a new connection
//! raises the product's version where it is still the one that the batch was decided on. If it is,
//! the lost statement can never match any more; else the batch is looked up, and a commit that
//! waits for the standbys stands behind what is found.

use std::time::{Duration, Instant};

use super::{backoff::Backoff, decide::Decision};
use crate::{
    domain::Product,
    store::{Error, Release, Store, Transaction},
};

/// The status of a commit whose answer was lost.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum CommitStatus {
    /// The decision is in the database; the product's current row, which other nodes may have
    /// written since.
    Committed(Box<Product>),
    RolledBack,
    /// Not found out before the deadline, or the decision leaves no row of its own (a restock).
    Unknown,
}

/// Time limit of one lookup; after it the database counts as unreachable.
const LOOKUP_TIMEOUT: Duration = Duration::from_secs(1);

/// Looks the commit up until its status is known or `deadline` has passed.
pub(super) async fn commit_status(
    store: &Store,
    before: &Product,
    decision: &Decision,
    deadline: Instant,
) -> CommitStatus {
    let mut backoff = Backoff::unreachable();
    loop {
        match tokio::time::timeout(LOOKUP_TIMEOUT, look_up(store, before, decision)).await {
            Ok(Ok(status)) => return status,
            Ok(Err(error)) => {
                store.note_failure(&error);
                tracing::debug!(%error, "cannot look up a lost commit: {error}");
            }
            Err(_) => drop(store.mark_silent()),
        }
        if Instant::now() >= deadline {
            return CommitStatus::Unknown;
        }
        tokio::time::sleep(backoff.next()).await;
    }
}

async fn look_up(
    store: &Store,
    before: &Product,
    decision: &Decision,
) -> Result<CommitStatus, Error> {
    let transaction = store.begin_self_committing().await?;
    if transaction.supersede(before.id, before.version).await? {
        transaction.commit().await?;
        return Ok(CommitStatus::RolledBack);
    }
    let Some(row) = transaction.product(before.id).await? else {
        return Ok(CommitStatus::RolledBack);
    };
    Ok(match is_written(&transaction, before, decision).await? {
        Some(true) => {
            transaction.end_durably(before.id).await?;
            CommitStatus::Committed(Box::new(row))
        }
        Some(false) => CommitStatus::RolledBack,
        None => CommitStatus::Unknown,
    })
}

/// Whether the decision was written; `None` where it leaves no row of its own, as a restock.
async fn is_written(
    transaction: &Transaction,
    before: &Product,
    decision: &Decision,
) -> Result<Option<bool>, Error> {
    if let Some(new) = decision.new.orders.first() {
        return Ok(Some(transaction.has_order(before.id, new.order.id).await?));
    }
    if let Some(row) = decision.audit.first() {
        return Ok(Some(transaction.has_audit(row.id).await?));
    }
    if let Some(new) = decision.joined.first() {
        return Ok(Some(transaction.has_entry(before.id, new.entry.id).await?));
    }
    let nothing_ended = decision.released.is_empty() && decision.left.is_empty();
    if nothing_ended || decision.stock.total != before.stock.total {
        return Ok(None);
    }
    // Another node may have ended some of the same orders: only all of them prove this decision.
    for release in Release::ALL {
        let orders = decision.released_by(release);
        if !transaction
            .are_released(before.id, release, &orders)
            .await?
        {
            return Ok(Some(false));
        }
    }
    Ok(Some(
        transaction.have_left(before.id, &decision.left).await?,
    ))
}
