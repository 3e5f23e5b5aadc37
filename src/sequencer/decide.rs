//! The decision: a pure function from what is true to what shall be.
//!
//! Wishes are decided in their order of arrival, each against what those before it left. A wish
//! that does not fit never keeps a later one that fits from being served; units that come back go
//! to those who wait before anybody else is looked at.

use std::collections::{HashMap, VecDeque};

use chrono::{DateTime, Utc};
use uuid::Uuid;

use crate::{
    domain::{Order, OrderId, OrderRequest, OrderStatus, Outcome, Product, UserId, WaitlistEntry},
    store::{Due, Known, NewEntry, NewOrders, Queued, Release},
};

mod course;
mod give_back;
mod waiting;

/// What somebody wants of a product.
#[derive(Clone, Debug)]
pub(super) enum Wish {
    Order(Box<OrderRequest>),
    Restock(i32),
    Cancel(OrderId, Release),
    /// A user who no longer waits.
    Leave(UserId),
    /// Holds that have ended give their units back, and who waits is served.
    Tend,
}

/// What became of a wish.
#[expect(
    clippy::large_enum_variant,
    reason = "nearly every verdict is an order's"
)]
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    Order(Outcome),
    Restocked,
    /// More units than [`crate::domain::STOCK_MAX`] would have been offered.
    RestockTooLarge,
    Cancelled(Box<Order>),
    /// The order is this, or not there.
    NotCancelled(Option<OrderStatus>),
    Left,
    NotWaiting,
    Tended,
    /// Of whatever was wanted but an order.
    NoProduct,
}

/// What is true of a product before the batch.
#[derive(Clone, Debug, Default)]
pub(super) struct Facts {
    /// What the wishes' idempotency keys stand for.
    pub(super) known: HashMap<(UserId, String), Known>,
    /// Units that the wishes' users hold or wait for; empty where the product has no limit.
    pub(super) held: HashMap<UserId, i64>,
    /// Orders that are to be cancelled, and whether they were offered to somebody who waited.
    pub(super) orders: HashMap<OrderId, (Order, bool)>,
    /// Orders whose hold has ended.
    pub(super) due: Vec<Due>,
    /// The places of the wishes' users.
    pub(super) places: HashMap<UserId, WaitlistEntry>,
    pub(super) queue: Queue,
}

/// Who waits for the product.
#[derive(Clone, Debug, Default)]
pub(super) struct Queue {
    pub(super) count: i64,
    /// The first of them, as far as they were looked up.
    pub(super) first: VecDeque<Queued>,
    /// Whether nobody who could be served waits behind these.
    pub(super) is_whole: bool,
}

/// What shall be: a verdict per wish, in their order, and what to write.
#[derive(Clone, Debug, Default)]
pub(super) struct Decision {
    pub(super) verdicts: Vec<Verdict>,
    pub(super) stock: i32,
    pub(super) stock_total: i32,
    pub(super) stock_reserved: i32,
    pub(super) new: NewOrders,
    pub(super) released: Vec<(OrderId, Release)>,
    /// New entries, some of them offered or left already.
    pub(super) joined: Vec<NewEntry>,
    /// Entries from before, and the orders that they became.
    pub(super) offered: Vec<(Uuid, OrderId)>,
    /// Entries from before that nobody waits in any more.
    pub(super) left: Vec<Uuid>,
    /// How many wait afterwards, where that was looked up.
    pub(super) waiting: Option<i64>,
    /// Users whose orders or places have changed without their asking.
    pub(super) concerned: Vec<UserId>,
    /// Offers that ended unpaid.
    pub(super) offers_lost: Vec<Release>,
    /// Whether there is more to tend to than fits into one batch.
    pub(super) more: bool,
}

impl Decision {
    /// Whether anything is to be written.
    pub(super) fn changes(&self, product: &Product) -> bool {
        !self.new.orders.is_empty()
            || !self.released.is_empty()
            || !self.joined.is_empty()
            || !self.left.is_empty()
            || self.stock != product.stock
            || self.stock_total != product.stock_total
            || self.stock_reserved != product.stock_reserved
    }

    /// Whether nothing is to be written but new orders and what they leave of the stock.
    pub(super) fn only_sells(&self) -> bool {
        self.released.is_empty()
            && self.joined.is_empty()
            && self.offered.is_empty()
            && self.left.is_empty()
            && !self.new.orders.is_empty()
    }

    pub(super) fn units(&self) -> u64 {
        let units = self.new.orders.iter().map(|new| new.order.quantity);
        units.map(|units| u64::try_from(units).unwrap_or(0)).sum()
    }

    /// How many who waited got an order.
    pub(super) fn offers(&self) -> usize {
        let orders = self.new.orders.iter();
        orders.filter(|new| new.from_waitlist).count()
    }

    /// The orders that are released for this reason.
    pub(super) fn released(&self, release: Release) -> Vec<OrderId> {
        let of = |(id, why): &(OrderId, Release)| (*why == release).then_some(*id);
        self.released.iter().filter_map(of).collect()
    }
}

/// Decides `wishes`; `reference` makes a new order's short name.
pub(super) fn decide<'a>(
    product: &Product,
    facts: Facts,
    wishes: impl Iterator<Item = &'a Wish>,
    now: DateTime<Utc>,
    reference: impl FnMut() -> String,
) -> Decision {
    let mut course = course::Course::new(product, facts, now, reference);
    for wish in wishes {
        let verdict = match wish {
            Wish::Order(request) => Verdict::Order(course.order(request)),
            Wish::Restock(quantity) => course.restock(*quantity),
            Wish::Cancel(order, release) => course.cancel(*order, *release),
            Wish::Leave(user) => course.leave(user),
            Wish::Tend => course.tend(),
        };
        course.decision.verdicts.push(verdict);
    }
    course.finish()
}

#[cfg(test)]
mod tests;
