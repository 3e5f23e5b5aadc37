//! What a batch has to know before it can be decided, and nothing that it need not.

use std::{collections::HashMap, sync::Arc};

use chrono::{DateTime, Utc};

use super::{
    asks::Asks,
    decide::{Facts, Queue, Wish},
};
use crate::{
    domain::{OrderRequest, Product, UserId},
    store::{Error, Transaction},
};

/// Holds that one batch ends; the next ones come with the next batch.
const DUE_MAX: u64 = 1_000;
/// Places that one batch looks at.
const QUEUE_MAX: u64 = 1_000;

impl Facts {
    /// Whether there may be more holds to end than were looked up.
    pub(super) fn is_not_all(&self) -> bool {
        u64::try_from(self.due.len()).is_ok_and(|due| due >= DUE_MAX)
    }
}

/// Looks up what the wishes call for.
pub(super) async fn facts(
    transaction: &Transaction,
    product: &Product,
    asks: &Asks,
    now: DateTime<Utc>,
) -> Result<Facts, Error> {
    let mut facts = Facts::default();
    let keys: Vec<_> = requests(asks).filter_map(key).collect();
    if !keys.is_empty() {
        facts.known = transaction.known_orders(&keys).await?;
        // Whatever the product: a key that got a place is another one's nowhere.
        facts.known.extend(transaction.known_entries(&keys).await?);
    }
    let mut cancelled = Vec::new();
    let (mut waiting, mut tends, mut ends_holds) = (Vec::new(), false, false);
    for wish in asks.wishes() {
        match wish {
            Wish::Order(request) if product.waitlist && request.waitlist => {
                waiting.push(Arc::clone(&request.user_id));
            }
            Wish::Order(_) => {}
            Wish::Restock(_) => tends = true,
            Wish::Cancel(order, _) => cancelled.push(*order),
            Wish::Leave(user) => waiting.push(Arc::clone(user)),
            Wish::Tend => (tends, ends_holds) = (true, true),
        }
    }
    if ends_holds {
        facts.due = transaction.due_orders(product.id, now, DUE_MAX).await?;
    }
    if product.max_per_user.is_some() {
        facts.held = held(transaction, product, asks).await?;
    }
    if !cancelled.is_empty() {
        tends = true;
        facts.orders = transaction.orders_of(product.id, cancelled).await?;
    }
    if !waiting.is_empty() {
        facts.places = transaction.waiting_users(product.id, &waiting).await?;
    }
    if tends || !waiting.is_empty() {
        facts.queue = queue(transaction, product, returning(product, asks, &facts)).await?;
    }
    Ok(facts)
}

fn requests(asks: &Asks) -> impl Iterator<Item = &OrderRequest> {
    asks.wishes().filter_map(|wish| match wish {
        Wish::Order(request) => Some(&**request),
        Wish::Restock(_) | Wish::Cancel(..) | Wish::Leave(_) | Wish::Tend => None,
    })
}

fn key(request: &OrderRequest) -> Option<(UserId, String)> {
    let key = request.key.as_ref()?;
    Some((Arc::clone(&request.user_id), key.key.clone()))
}

/// What the wishes' users hold or wait for.
async fn held(
    transaction: &Transaction,
    product: &Product,
    asks: &Asks,
) -> Result<HashMap<UserId, i64>, Error> {
    let users: Vec<_> = requests(asks)
        .map(|request| Arc::clone(&request.user_id))
        .collect();
    if users.is_empty() {
        return Ok(HashMap::new());
    }
    transaction.held_units(product.id, &users).await
}

/// The most units that those who wait may be offered in this batch.
fn returning(product: &Product, asks: &Asks, facts: &Facts) -> i32 {
    let restocked = asks.wishes().map(|wish| match wish {
        Wish::Restock(quantity) => *quantity,
        Wish::Order(_) | Wish::Cancel(..) | Wish::Leave(_) | Wish::Tend => 0,
    });
    let cancelled = facts.orders.values().map(|(order, _)| order.quantity);
    let due = facts.due.iter().map(|due| due.quantity);
    restocked
        .chain(cancelled)
        .chain(due)
        .fold(product.stock, i32::saturating_add)
}

async fn queue(transaction: &Transaction, product: &Product, units: i32) -> Result<Queue, Error> {
    let count = transaction.waiting_count(product.id).await?;
    let count = i64::try_from(count).unwrap_or(i64::MAX);
    if count == 0 || units == 0 {
        return Ok(Queue {
            count,
            is_whole: count == 0,
            ..Queue::default()
        });
    }
    // Only where those who do not fit may be passed can they be left out.
    let at_most = product.waitlist_skip.then_some(units);
    let first = transaction.queue(product.id, at_most, QUEUE_MAX).await?;
    Ok(Queue {
        count,
        is_whole: u64::try_from(first.len()).is_ok_and(|seen| seen < QUEUE_MAX),
        first: first.into(),
    })
}
