//! Reads the facts that a batch needs: keys, units per user, orders, expired holds, the waitlist.
//!
//! Each statement sees its own moment, with or without a transaction. That suffices: whatever makes
//! keys, live orders or places raises the product's version, so when the fenced write matches the
//! row of the decision, nothing of this has changed since that row was read. A payment changes an
//! order without raising it: the write that releases an order therefore names the order's status.

use std::{collections::HashMap, sync::Arc};

use chrono::{DateTime, Utc};

use super::{
    decide::{Command, Facts, Queue},
    pending::PendingBatch,
};
use crate::{
    domain::{OrderRequest, Product, UserId},
    store::{Error, Transaction, UserKey},
};

/// Expired holds that one batch ends; the next batch ends the rest.
const EXPIRED_MAX: u64 = 1_000;
/// Waitlist entries that one batch reads.
const QUEUE_MAX: u64 = 1_000;

impl Facts {
    /// Whether more holds may have expired than were read.
    pub(super) fn has_more_holds(&self) -> bool {
        u64::try_from(self.expired_holds.len()).is_ok_and(|count| count >= EXPIRED_MAX)
    }
}

/// Reads the facts for the batch.
pub(super) async fn facts(
    transaction: &Transaction,
    product: &Product,
    pending: &PendingBatch,
    now: DateTime<Utc>,
) -> Result<Facts, Error> {
    let mut facts = Facts::default();
    let keys: Vec<_> = requests(pending).filter_map(key).collect();
    if !keys.is_empty() {
        // A row of a known key never goes away, so it is still there for the next statements.
        let keys = transaction.known_keys(product.id, &keys).await?;
        if !keys.is_empty() {
            let records = &mut facts.idempotency_records;
            *records = transaction.orders_by_key(product.id, &keys).await?;
            records.extend(transaction.entries_by_key(product.id, &keys).await?);
        }
    }
    let (mut cancelled, mut leaves) = (Vec::new(), 0);
    let (mut waitlist_users, mut returns_units, mut expires_holds) = (Vec::new(), false, false);
    for command in pending.commands() {
        match command {
            Command::Order(request) if product.waitlist && request.waitlist => {
                waitlist_users.push(Arc::clone(&request.user_id));
            }
            Command::Order(_) => {}
            Command::Restock(..) => returns_units = true,
            Command::Cancel(order, ..) => cancelled.push(*order),
            Command::Leave(user) => {
                leaves += 1;
                waitlist_users.push(Arc::clone(user));
            }
            Command::ExpireHolds => (returns_units, expires_holds) = (true, true),
        }
    }
    if expires_holds {
        let expired = transaction.expired_holds(product.id, now, EXPIRED_MAX);
        facts.expired_holds = expired.await?;
    }
    if product.max_per_user.is_some() {
        facts.held = held(transaction, product, pending).await?;
    }
    if !cancelled.is_empty() {
        returns_units = true;
        facts.orders = transaction.orders_of(product.id, cancelled).await?;
    }
    if !waitlist_users.is_empty() {
        let entries = transaction.entries_of_users(product.id, &waitlist_users);
        facts.places = entries.await?;
    }
    if returns_units || !waitlist_users.is_empty() {
        let units = returning(product, pending, &facts);
        facts.queue = queue(transaction, product, units, leaves).await?;
    }
    Ok(facts)
}

fn requests(pending: &PendingBatch) -> impl Iterator<Item = &OrderRequest> {
    pending.commands().filter_map(|command| match command {
        Command::Order(request) => Some(&**request),
        Command::Restock(..) | Command::Cancel(..) | Command::Leave(_) | Command::ExpireHolds => {
            None
        }
    })
}

fn key(request: &OrderRequest) -> Option<UserKey> {
    let key = request.key.as_ref()?;
    Some((Arc::clone(&request.user_id), key.key.clone()))
}

/// Units that the commands' users hold or wait for.
async fn held(
    transaction: &Transaction,
    product: &Product,
    pending: &PendingBatch,
) -> Result<HashMap<UserId, i64>, Error> {
    let users: Vec<_> = requests(pending)
        .map(|request| Arc::clone(&request.user_id))
        .collect();
    if users.is_empty() {
        return Ok(HashMap::new());
    }
    transaction.held_units(product.id, &users).await
}

/// The most units that the waitlist may be offered in this batch.
fn returning(product: &Product, pending: &PendingBatch, facts: &Facts) -> i32 {
    if product.archived_at.is_some() {
        // All entries leave.
        return i32::MAX;
    }
    let restocked = pending.commands().map(|command| match command {
        Command::Restock(quantity, _) => (*quantity).max(0),
        Command::Order(_) | Command::Cancel(..) | Command::Leave(_) | Command::ExpireHolds => 0,
    });
    let cancelled = facts.orders.values().map(|stored| stored.order.quantity);
    let expired = facts.expired_holds.iter().map(|hold| hold.quantity);
    restocked
        .chain(cancelled)
        .chain(expired)
        .fold(product.stock.on_hand, i32::saturating_add)
}

/// Reads no more of the waitlist than the batch could serve. Every entry that is served takes a
/// unit, so of one entry more than `units` and leaves one remains, and what keeps it waiting keeps
/// the unread entries behind it waiting too: all of them, or with `waitlist_skip` those of its size.
async fn queue(
    transaction: &Transaction,
    product: &Product,
    units: i32,
    leaves: usize,
) -> Result<Queue, Error> {
    let count = transaction.waiting_count(product.id).await?;
    if count == 0 || units == 0 {
        return Ok(Queue {
            count,
            is_complete: count == 0,
            ..Queue::default()
        });
    }
    let leaves = u64::try_from(leaves).unwrap_or(QUEUE_MAX);
    let limit = u64::from(units.unsigned_abs())
        .saturating_add(leaves + 1)
        .min(QUEUE_MAX);
    // Entries that do not fit block later ones unless the product has `waitlist_skip`.
    let first = if product.waitlist_skip {
        let first = transaction.queue_within(product.id, units, limit, QUEUE_MAX);
        first.await?
    } else {
        transaction.queue(product.id, limit).await?
    };
    Ok(Queue {
        count,
        is_complete: u64::try_from(first.len()).is_ok_and(|seen| seen < QUEUE_MAX),
        first: first.into(),
    })
}
