//! Decides the waitlist: joins, leaves, and offers of returned units to waiting buyers.

use std::sync::Arc;

use super::{Reply, decider::Decider};
use crate::{
    domain::{OrderId, OrderRequest, Outcome, UserId, WaitlistEntry, WaitlistStatus},
    store::{NewEntry, NewOrder, Queued, Recorded},
};

impl<R: FnMut() -> String> Decider<'_, R> {
    /// Whether the request may join the waitlist.
    pub(super) fn may_wait(&self, request: &OrderRequest) -> bool {
        self.product.waitlist && request.waitlist
    }

    /// The place that the user has already: a user has one place per product.
    pub(super) fn place_of(&self, request: &OrderRequest) -> Option<Outcome> {
        if !self.may_wait(request) || request.quantity <= self.available_to(request) {
            return None;
        }
        let place = self.facts.places.get(&request.user_id)?;
        Some(Outcome::Waitlisted(place.clone()))
    }

    pub(super) fn join(&mut self, request: &OrderRequest) -> WaitlistEntry {
        self.facts.queue.count += 1;
        let entry = WaitlistEntry {
            id: request.order_id,
            product_id: self.product.id,
            user_id: Arc::clone(&request.user_id),
            quantity: request.quantity,
            position: Some(self.facts.queue.count),
            status: WaitlistStatus::Waiting,
            order_id: None,
            created_at: self.now,
        };
        if self.facts.queue.is_complete {
            self.facts.queue.first.push_back(Queued {
                id: entry.id,
                user_id: Arc::clone(&entry.user_id),
                quantity: entry.quantity,
            });
        }
        let user = Arc::clone(&entry.user_id);
        self.facts.places.insert(user, entry.clone());
        self.count_held(&entry.user_id, entry.quantity);
        if let Some(key) = &request.key {
            self.record_key(&entry.user_id, key, Recorded::Entry(entry.clone()));
        }
        self.decision.waiting = Some(self.facts.queue.count);
        self.decision.joined.push(NewEntry {
            entry: entry.clone(),
            key: request.key.clone(),
        });
        entry
    }

    pub(super) fn leave(&mut self, user: &UserId) -> Reply {
        let Some(place) = self.facts.places.remove(user) else {
            return Reply::NotWaiting;
        };
        let queue = &mut self.facts.queue;
        queue.count -= 1;
        queue.first.retain(|queued| queued.id != place.id);
        self.count_held(user, -place.quantity);
        self.decision.left.push(place.id);
        // Later entries may fit now.
        self.offer_to_waitlist();
        Reply::Left
    }

    /// Offers the units on hand to the waitlist, in its order. An entry that wants more units than
    /// are left blocks the later ones, unless the product has `waitlist_skip`. A hidden product makes
    /// no offers.
    pub(super) fn offer_to_waitlist(&mut self) {
        let mut next = 0;
        while self.product.is_public()
            && self.decision.stock.on_hand > 0
            && let Some(queued) = self.facts.queue.first.get(next)
        {
            if queued.quantity > self.decision.stock.on_hand {
                if !self.product.waitlist_skip {
                    break;
                }
                next += 1;
            } else if let Some(queued) = self.facts.queue.first.remove(next) {
                self.offer(queued);
            }
        }
        self.decision.waiting = Some(self.facts.queue.count);
        if self.facts.queue.count == 0 {
            self.decision.stock.end_reservation();
        }
    }

    /// Makes an order for a waitlist entry.
    fn offer(&mut self, queued: Queued) {
        let Queued {
            id,
            user_id,
            quantity,
        } = queued;
        let order = self.new_order(OrderId::now_v7(), Arc::clone(&user_id), quantity);
        self.facts.queue.count -= 1;
        self.facts.places.remove(&user_id);
        self.decision.stock.offer(quantity);
        self.decision.offered.push((id, order.id));
        self.decision.affected_users.push(user_id);
        self.decision.new.orders.push(NewOrder {
            order,
            key: None,
            from_waitlist: true,
        });
    }
}
