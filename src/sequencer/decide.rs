//! Decides a batch of commands: a pure function from a product's facts to replies and changes.
//!
//! Commands are decided in their order of arrival, each against the state that the earlier ones
//! left (`decide/decider.rs`). A command that does not fit never prevents a later one that fits;
//! returned units are offered to the waitlist before any later command is decided.
//!
//! `orders.rs` decides orders, `returned_units.rs` restocks, cancellations and expired holds,
//! `offers.rs` the waitlist.

use std::{
    collections::{HashMap, HashSet, VecDeque},
    sync::Arc,
};

use chrono::{DateTime, Utc};
use uuid::Uuid;

use crate::{
    domain::{
        Actor, AuditRow, Order, OrderId, OrderRequest, OrderStatus, Outcome, Product, StockLevel,
        UserId, WaitlistEntry,
    },
    store::{
        ExpiredHold, IdempotencyRecord, NewEntry, NewOrder, NewOrders, Queued, Release,
        StoredOrder, UserKey,
    },
};

mod decider;
mod offers;
mod orders;
mod returned_units;

/// A command for a product's lane.
#[derive(Clone, Debug)]
pub(super) enum Command {
    Order(Box<OrderRequest>),
    Restock(i32, Arc<Actor>),
    Cancel(OrderId, Release, Arc<Actor>),
    /// Removes the user from the waitlist.
    Leave(UserId),
    /// Returns the units of expired holds and serves the waitlist.
    ExpireHolds,
}

/// The reply to a command.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Reply {
    Order(Outcome),
    Restocked,
    /// The total would exceed [`crate::domain::STOCK_MAX`].
    RestockTooLarge,
    /// More units were to be withdrawn than are `available`.
    RestockTooSmall {
        available: i32,
    },
    Cancelled(Box<Order>),
    /// The order's status, or `None` when there is no such order.
    NotCancelled(Option<OrderStatus>),
    Left,
    NotWaiting,
    HoldsExpired,
    /// The reply to every command but an order when the product does not exist.
    NoProduct,
}

/// Facts about a product before the batch, as far as the batch's commands need them.
#[derive(Clone, Debug, Default)]
pub(super) struct Facts {
    /// Orders and places that the commands' idempotency keys made before.
    pub(super) idempotency_records: HashMap<UserKey, IdempotencyRecord>,
    /// Units that the commands' users hold or wait for; empty where the product has no limit.
    pub(super) held: HashMap<UserId, i64>,
    /// Orders to be cancelled.
    pub(super) orders: HashMap<OrderId, StoredOrder>,
    pub(super) expired_holds: Vec<ExpiredHold>,
    /// The places of the commands' users.
    pub(super) places: HashMap<UserId, WaitlistEntry>,
    pub(super) queue: Queue,
}

/// The product's waitlist, as far as it was read.
#[derive(Clone, Debug, Default)]
pub(super) struct Queue {
    pub(super) count: i64,
    /// The first entries.
    pub(super) first: VecDeque<Queued>,
    /// Whether `first` has every entry that this batch could serve.
    pub(super) is_complete: bool,
}

/// The decision on a batch: a reply per command, in their order, and the changes to write.
#[derive(Clone, Debug, Default)]
pub(super) struct Decision {
    pub(super) replies: Vec<Reply>,
    pub(super) stock: StockLevel,
    pub(super) new: NewOrders,
    pub(super) released: Vec<(OrderId, Release)>,
    /// New waitlist entries, some of them offered or left already.
    pub(super) joined: Vec<NewEntry>,
    /// Earlier entries, and the orders made for them.
    pub(super) offered: Vec<(Uuid, OrderId)>,
    /// Earlier entries that left the waitlist.
    pub(super) left: Vec<Uuid>,
    /// Entries that wait afterwards, where the waitlist was read.
    pub(super) waiting: Option<i64>,
    /// Users whose orders or places were changed by others.
    pub(super) affected_users: Vec<UserId>,
    /// Orders made for waitlist entries that ended unpaid.
    pub(super) offers_lost: Vec<Release>,
    /// Restocks and cancellations, for the audit trail.
    pub(super) audit: Vec<AuditRow>,
    /// Whether expired holds or serviceable entries remain for another batch.
    pub(super) more: bool,
}

impl Decision {
    /// Whether there is anything to write.
    pub(super) fn has_changes(&self, product: &Product) -> bool {
        !self.new.orders.is_empty()
            || !self.released.is_empty()
            || !self.joined.is_empty()
            || !self.left.is_empty()
            || self.stock != product.stock
    }

    /// Whether new orders and the stock that they leave are the only changes.
    pub(super) fn only_sells(&self) -> bool {
        self.released.is_empty()
            && self.joined.is_empty()
            && self.offered.is_empty()
            && self.left.is_empty()
            && !self.new.orders.is_empty()
    }

    /// Whether a reply says that something is written. In a decision without changes it was learned
    /// from a row that an earlier batch wrote: a refused cancellation says that the order has ended,
    /// which is how its repetition learns that it was done.
    pub(super) fn tells_of_writes(&self) -> bool {
        self.replies.iter().any(|reply| match reply {
            Reply::Order(outcome) => match outcome {
                Outcome::Created(_)
                | Outcome::Replayed(_)
                | Outcome::Waitlisted(_)
                | Outcome::WaitReplayed(_) => true,
                Outcome::Refused(_) => false,
            },
            Reply::Restocked
            | Reply::Cancelled(_)
            | Reply::NotCancelled(_)
            | Reply::Left
            | Reply::NotWaiting => true,
            Reply::RestockTooLarge
            | Reply::RestockTooSmall { .. }
            | Reply::HoldsExpired
            | Reply::NoProduct => false,
        })
    }

    /// Units of the new orders.
    pub(super) fn units(&self) -> u64 {
        let units = self.new.orders.iter().map(|new| new.order.quantity);
        units.map(|units| u64::try_from(units).unwrap_or(0)).sum()
    }

    /// The references of the new orders.
    pub(super) fn references(&self) -> Vec<String> {
        let orders = self.new.orders.iter();
        orders.map(|new| new.order.reference.clone()).collect()
    }

    /// Gives each new order whose reference is `taken`, or drawn for an earlier order of the batch,
    /// another one; false when there is no such order.
    pub(super) fn redraw(&mut self, mut taken: HashSet<String>, draw: impl Fn() -> String) -> bool {
        let mut redrawn: HashMap<OrderId, String> = HashMap::new();
        for NewOrder { order, .. } in &mut self.new.orders {
            if !taken.insert(order.reference.clone()) {
                order.reference = draw();
                redrawn.insert(order.id, order.reference.clone());
            }
        }
        for reply in &mut self.replies {
            if let Reply::Order(Outcome::Created(order) | Outcome::Replayed(order)) = reply
                && let Some(reference) = redrawn.get(&order.id)
            {
                order.reference.clone_from(reference);
            }
        }
        !redrawn.is_empty()
    }

    /// The number of orders made for waitlist entries.
    pub(super) fn offers(&self) -> usize {
        let orders = self.new.orders.iter();
        orders.filter(|new| new.from_waitlist).count()
    }

    /// The orders that are released for this reason.
    pub(super) fn released_by(&self, release: Release) -> Vec<OrderId> {
        let of = |(id, why): &(OrderId, Release)| (*why == release).then_some(*id);
        self.released.iter().filter_map(of).collect()
    }
}

/// Decides `commands`; `reference` makes a new order's reference.
pub(super) fn decide<'a>(
    product: &Product,
    facts: Facts,
    commands: impl Iterator<Item = &'a Command>,
    now: DateTime<Utc>,
    reference: impl FnMut() -> String,
) -> Decision {
    let mut decider = decider::Decider::new(product, facts, now, reference);
    for command in commands {
        let reply = match command {
            Command::Order(request) => Reply::Order(decider.order(request)),
            Command::Restock(quantity, actor) => decider.restock(*quantity, actor),
            Command::Cancel(order, release, actor) => decider.cancel(*order, *release, actor),
            Command::Leave(user) => decider.leave(user),
            Command::ExpireHolds => decider.expire_holds(),
        };
        decider.decision.replies.push(reply);
    }
    decider.finish()
}

#[cfg(test)]
mod tests;
