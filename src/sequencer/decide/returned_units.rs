//! Decides commands that return units: restocks, cancellations, expired holds.

use std::sync::Arc;

use serde_json::{Value, json};

use super::{Reply, decider::Decider};
use crate::{
    domain::{
        Actor, AuditAction, AuditRow, Change, Order, OrderId, OrderStatus, PaymentStatus,
        StockLevel, order_state,
    },
    store::{Release, StoredOrder},
};

impl<R: FnMut() -> String> Decider<'_, R> {
    pub(super) fn restock(&mut self, quantity: i32, actor: &Arc<Actor>) -> Reply {
        if self.product.archived_at.is_some() {
            return Reply::NoProduct;
        }
        let before = self.decision.stock;
        if quantity < 0 {
            if !self.decision.stock.withdraw(-quantity) {
                let available = before.on_hand;
                return Reply::RestockTooSmall { available };
            }
        } else if !self.decision.stock.restock(quantity) {
            return Reply::RestockTooLarge;
        }
        let change = Change {
            before: level_state(before),
            after: level_state(self.decision.stock),
        };
        let (action, product) = (AuditAction::Restock, self.product.id);
        let row = AuditRow::new(actor, action, product, change, self.now);
        self.decision.audit.push(row);
        self.offer_to_waitlist();
        Reply::Restocked
    }

    pub(super) fn cancel(&mut self, id: OrderId, release: Release, actor: &Arc<Actor>) -> Reply {
        let Some(StoredOrder {
            order,
            from_waitlist,
        }) = self.facts.orders.get(&id).cloned()
        else {
            return Reply::NotCancelled(None);
        };
        if let Some(status) = self.refuse_to_cancel(&order, release) {
            return Reply::NotCancelled(Some(status));
        }
        let before = order_state(&order);
        let mut cancelled = Order {
            status: OrderStatus::Cancelled,
            ..order
        };
        if let Some(payment) = cancelled
            .payment
            .as_mut()
            .filter(|_| release == Release::Undo)
        {
            payment.status = PaymentStatus::Refunded;
        }
        cancelled.note_refund_due();
        let change = Change::between(before, order_state(&cancelled));
        let row = AuditRow::new(actor, AuditAction::CancelOrder, id, change, self.now);
        self.decision.audit.push(row);
        // A second cancellation in this batch finds the order cancelled.
        let entry = StoredOrder {
            order: cancelled.clone(),
            from_waitlist,
        };
        self.facts.orders.insert(id, entry);
        self.decision.released.push((id, release));
        let user = Arc::clone(&cancelled.user_id);
        self.decision.affected_users.push(user);
        if from_waitlist {
            self.decision.offers_lost.push(release);
        }
        self.count_held(&cancelled.user_id, -cancelled.quantity);
        self.give_back(cancelled.quantity);
        Reply::Cancelled(Box::new(cancelled))
    }

    /// The status that forbids this release, if one does.
    fn refuse_to_cancel(&self, order: &Order, release: Release) -> Option<OrderStatus> {
        let over = order.expires_at.is_some_and(|end| end <= self.now);
        let may = match release {
            Release::Cancel => order.status == OrderStatus::Pending && !over,
            Release::Expire => order.status == OrderStatus::Pending && over,
            Release::Undo => {
                let payment = order.payment.as_ref();
                order.status == OrderStatus::Confirmed
                    && payment.is_none_or(|payment| payment.status == PaymentStatus::Refunding)
            }
        };
        (!may).then_some(if order.status == OrderStatus::Pending && over {
            OrderStatus::Expired
        } else {
            order.status
        })
    }

    /// Ends expired holds, then serves the waitlist, also when no hold has expired. Ends the places of
    /// an archived product.
    pub(super) fn expire_holds(&mut self) -> Reply {
        for hold in std::mem::take(&mut self.facts.expired_holds) {
            if self.decision.released.iter().any(|(id, _)| *id == hold.id) {
                continue;
            }
            self.decision.released.push((hold.id, Release::Expire));
            if hold.from_waitlist {
                self.decision.offers_lost.push(Release::Expire);
            }
            self.count_held(&hold.user_id, -hold.quantity);
            self.decision.affected_users.push(hold.user_id);
            self.give_back(hold.quantity);
        }
        if self.product.archived_at.is_some() {
            self.end_places();
        }
        self.offer_to_waitlist();
        Reply::HoldsExpired
    }

    /// Removes the places that were read from the waitlist.
    fn end_places(&mut self) {
        let queue = &mut self.facts.queue;
        self.decision.more |= !queue.is_complete;
        let places = std::mem::take(&mut queue.first);
        queue.count -= i64::try_from(places.len()).unwrap_or(i64::MAX);
        for place in places {
            self.facts.places.remove(&place.user_id);
            self.count_held(&place.user_id, -place.quantity);
            self.decision.left.push(place.id);
            self.decision.affected_users.push(place.user_id);
        }
    }

    /// Returns units to the stock and offers them to the waitlist before any later command.
    fn give_back(&mut self, quantity: i32) {
        self.decision.stock.give_back(quantity);
        self.offer_to_waitlist();
    }
}

/// A stock level in the audit trail: its units as the API names them.
fn level_state(level: StockLevel) -> Value {
    json!({ "stock_total": level.total, "stock": level.on_hand })
}
