//! The waitlist: who joins, who is served, who leaves.

use std::{collections::HashMap, sync::Arc};

use super::{Verdict, course::Course};
use crate::{
    domain::{OrderId, OrderRequest, Outcome, UserId, WaitingStatus, WaitlistEntry},
    store::{NewEntry, NewOrder, Queued, Remembered},
};

impl<R: FnMut() -> String> Course<'_, R> {
    /// Whether the request may wait for units that come back.
    pub(super) fn may_wait(&self, request: &OrderRequest) -> bool {
        self.product.waitlist && request.waitlist
    }

    /// The place that the user has already: nobody waits twice.
    pub(super) fn place_of(&self, request: &OrderRequest) -> Option<Outcome> {
        if !self.may_wait(request) || request.quantity <= self.within_reach(request) {
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
            status: WaitingStatus::Waiting,
            order_id: None,
            created_at: self.now,
        };
        if self.facts.queue.is_whole {
            self.facts.queue.first.push_back(Queued {
                id: entry.id,
                user_id: Arc::clone(&entry.user_id),
                quantity: entry.quantity,
            });
        }
        let user = Arc::clone(&entry.user_id);
        self.facts.places.insert(user, entry.clone());
        self.hold(&entry.user_id, entry.quantity);
        if let Some(key) = &request.key {
            self.remember(&entry.user_id, key, Remembered::Entry(entry.clone()));
        }
        self.decision.waiting = Some(self.facts.queue.count);
        self.decision.joined.push(NewEntry {
            entry: entry.clone(),
            key: request.key.clone(),
        });
        entry
    }

    pub(super) fn leave(&mut self, user: &UserId) -> Verdict {
        let Some(place) = self.facts.places.remove(user) else {
            return Verdict::NotWaiting;
        };
        let queue = &mut self.facts.queue;
        queue.count -= 1;
        queue.first.retain(|queued| queued.id != place.id);
        self.hold(user, -place.quantity);
        self.decision.left.push(place.id);
        // Who was behind may fit.
        self.serve_who_waits();
        Verdict::Left
    }

    /// Offers what is there to those who wait, in their order. One who wants more than there is
    /// keeps those behind waiting, unless the product lets them pass.
    pub(super) fn serve_who_waits(&mut self) {
        let mut next = 0;
        while self.decision.stock > 0
            && let Some(queued) = self.facts.queue.first.get(next)
        {
            if queued.quantity > self.decision.stock {
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
            self.decision.stock_reserved = 0;
        }
    }

    fn offer(&mut self, queued: Queued) {
        let Queued {
            id,
            user_id,
            quantity,
        } = queued;
        let order = self.new_order(OrderId::now_v7(), Arc::clone(&user_id), quantity);
        self.facts.queue.count -= 1;
        self.facts.places.remove(&user_id);
        self.decision.stock -= quantity;
        let reserved = &mut self.decision.stock_reserved;
        *reserved = (*reserved - quantity).max(0);
        self.decision.offered.push((id, order.id));
        self.decision.concerned.push(user_id);
        self.decision.new.orders.push(NewOrder {
            order,
            key: None,
            from_waitlist: true,
        });
    }

    /// Whoever joins in this batch may be offered an order, or leave, in this batch too: the entry
    /// is written as it is in the end, for the same user may have joined once more.
    pub(super) fn settle_joined(&mut self) {
        let decision = &mut self.decision;
        if decision.joined.is_empty() {
            return;
        }
        let joined = decision.joined.iter_mut().map(|new| &mut new.entry);
        let mut joined: HashMap<_, _> = joined.map(|entry| (entry.id, entry)).collect();
        let mut is_from_before = |id, status, order_id| {
            let Some(entry) = joined.get_mut(&id) else {
                return true;
            };
            entry.status = status;
            entry.order_id = order_id;
            false
        };
        let left = &mut decision.left;
        left.retain(|id| is_from_before(*id, WaitingStatus::Left, None));
        let offered = &mut decision.offered;
        offered.retain(|(id, order)| is_from_before(*id, WaitingStatus::Offered, Some(*order)));
    }
}
