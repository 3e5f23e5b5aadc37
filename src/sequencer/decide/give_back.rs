//! Units that come back: a restock, a cancelled order, holds that have ended.

use std::sync::Arc;

use super::{Decision, Verdict, course::Course};
use crate::{
    domain::{Order, OrderId, OrderStatus, Payment, STOCK_MAX},
    store::Release,
};

impl<R: FnMut() -> String> Course<'_, R> {
    pub(super) fn restock(&mut self, quantity: i32) -> Verdict {
        match self.decision.stock_total.checked_add(quantity) {
            Some(total) if total <= STOCK_MAX => {
                self.decision.stock_total = total;
                self.give_back(quantity);
                Verdict::Restocked
            }
            Some(_) | None => Verdict::RestockTooLarge,
        }
    }

    pub(super) fn cancel(&mut self, id: OrderId, release: Release) -> Verdict {
        let Some((order, from_waitlist)) = self.facts.orders.get(&id).cloned() else {
            return Verdict::NotCancelled(None);
        };
        if let Some(status) = self.refuse_to_cancel(&order, release) {
            return Verdict::NotCancelled(Some(status));
        }
        let cancelled = Order {
            status: OrderStatus::Cancelled,
            payment: order.payment.clone().map(|payment| match release {
                Release::Undo => Payment {
                    status: "refunded".to_owned(),
                    ..payment
                },
                Release::Cancel | Release::Expire => payment,
            }),
            ..order
        };
        let entry = (cancelled.clone(), from_waitlist);
        self.facts.orders.insert(id, entry);
        self.decision.released.push((id, release));
        let user = Arc::clone(&cancelled.user_id);
        self.decision.concerned.push(user);
        if from_waitlist {
            self.decision.offers_lost.push(release);
        }
        self.hold(&cancelled.user_id, -cancelled.quantity);
        self.give_back(cancelled.quantity);
        Verdict::Cancelled(Box::new(cancelled))
    }

    /// What the order is instead of what it must be.
    fn refuse_to_cancel(&self, order: &Order, release: Release) -> Option<OrderStatus> {
        let over = order.expires_at.is_some_and(|end| end <= self.now);
        let may = match release {
            Release::Cancel => order.status == OrderStatus::Pending && !over,
            Release::Expire => order.status == OrderStatus::Pending && over,
            Release::Undo => {
                let payment = order.payment.as_ref();
                order.status == OrderStatus::Confirmed
                    && payment.is_none_or(|payment| payment.status == "refunding")
            }
        };
        (!may).then_some(if order.status == OrderStatus::Pending && over {
            OrderStatus::Expired
        } else {
            order.status
        })
    }

    /// Ends the holds that are over; who waits is served also when none are.
    pub(super) fn tend(&mut self) -> Verdict {
        for due in std::mem::take(&mut self.facts.due) {
            if self.decision.released.iter().any(|(id, _)| *id == due.id) {
                continue;
            }
            self.decision.released.push((due.id, Release::Expire));
            if due.from_waitlist {
                self.decision.offers_lost.push(Release::Expire);
            }
            self.hold(&due.user_id, -due.quantity);
            self.decision.concerned.push(due.user_id);
            self.give_back(due.quantity);
        }
        self.serve_who_waits();
        Verdict::Tended
    }

    /// Units that came back are for those who wait, before anybody else.
    fn give_back(&mut self, quantity: i32) {
        self.decision.stock += quantity;
        self.decision.stock_reserved += quantity;
        self.serve_who_waits();
    }

    pub(super) fn finish(mut self) -> Decision {
        let queue = &self.facts.queue;
        // Where nobody may pass, one who does not fit stands before all who were not looked up.
        let may_go_on = self.product.waitlist_skip || queue.first.is_empty();
        let unseen = !queue.is_whole && may_go_on;
        self.decision.more |= unseen && self.decision.stock > 0 && queue.count > 0;
        self.settle_joined();
        self.decision
    }
}
