//! Decides an order request: replays, refuses, sells or waitlists it.

use std::sync::Arc;

use super::decider::Decider;
use crate::{
    domain::{Order, OrderId, OrderRequest, OrderTerms, Outcome, Refusal, UserId},
    store::{NewOrder, Recorded},
};

impl<R: FnMut() -> String> Decider<'_, R> {
    /// Replays a recorded key, refuses in the order of the contract (`docs/API.md`), sells, or
    /// joins the waitlist. A replay precedes every refusal, whatever has changed since.
    pub(super) fn order(&mut self, request: &OrderRequest) -> Outcome {
        let recorded = self.outcome_of_key(request);
        if let Some(replay @ (Outcome::Replayed(_) | Outcome::WaitReplayed(_))) = recorded {
            return replay;
        }
        if self.may_take_reserved(request) {
            // Earlier entries that fit are served first.
            self.offer_to_waitlist();
        }
        let early = self
            .refuse_by_terms(request)
            .or(recorded)
            .or_else(|| self.place_of(request))
            .or_else(|| self.refuse_by_limit(request));
        if let Some(outcome) = early {
            return outcome;
        }
        if request.quantity <= self.available_to(request) {
            return Outcome::Created(self.sell(request));
        }
        if self.may_wait(request) {
            return Outcome::Waitlisted(self.join(request));
        }
        self.refuse_by_stock().into()
    }

    /// Units that this request may take. With `waitlist_skip`, a request that would join the
    /// waitlist may also take reserved units: every earlier entry that was read wants more.
    pub(super) fn available_to(&self, request: &OrderRequest) -> i32 {
        if self.may_take_reserved(request) && self.facts.queue.is_complete {
            return self.decision.stock.on_hand;
        }
        self.decision.stock.for_sale()
    }

    /// Whether there are reserved units that this request may take if no earlier entry can.
    fn may_take_reserved(&self, request: &OrderRequest) -> bool {
        self.product.waitlist_skip && self.decision.stock.reserved > 0 && self.may_wait(request)
    }

    /// The replay or the refusal that the request's idempotency key calls for.
    fn outcome_of_key(&self, request: &OrderRequest) -> Option<Outcome> {
        let key = request.key.as_ref()?;
        let name = (Arc::clone(&request.user_id), key.key.clone());
        let record = self.facts.idempotency_records.get(&name)?;
        if record.request != key.request {
            return Some(Refusal::IdempotencyKeyReused.into());
        }
        Some(match &record.answer {
            Recorded::Order(order) => Outcome::Replayed((**order).clone()),
            Recorded::Entry(entry) => Outcome::WaitReplayed(entry.clone()),
        })
    }

    fn refuse_by_terms(&self, request: &OrderRequest) -> Option<Outcome> {
        let product = self.product;
        if !product.is_public() {
            return Some(Refusal::ProductNotFound.into());
        }
        if request.quantity > product.max_per_order {
            let max_per_order = product.max_per_order;
            return Some(Refusal::QuantityOverLimit { max_per_order }.into());
        }
        let not_on_sale = Refusal::NotOnSale {
            starts_at: product.starts_at,
            ends_at: product.ends_at,
        };
        (!product.on_sale(self.now)).then_some(not_on_sale.into())
    }

    fn refuse_by_limit(&self, request: &OrderRequest) -> Option<Outcome> {
        let limit = self.product.max_per_user?;
        let held = self.facts.held.get(&request.user_id).copied().unwrap_or(0);
        let wanted = held + i64::from(request.quantity);
        (wanted > i64::from(limit)).then_some(Refusal::PurchaseLimit { limit, held }.into())
    }

    fn refuse_by_stock(&self) -> Refusal {
        match self.decision.stock.for_sale() {
            0 => Refusal::SoldOut {
                waitlist: self.product.waitlist,
            },
            available => Refusal::InsufficientStock { available },
        }
    }

    fn sell(&mut self, request: &OrderRequest) -> Order {
        let user = Arc::clone(&request.user_id);
        let order = self.new_order(request.order_id, user, request.quantity);
        self.decision.stock.sell(request.quantity);
        self.count_held(&request.user_id, request.quantity);
        if let Some(key) = &request.key {
            let answer = Recorded::Order(Box::new(order.clone()));
            self.record_key(&request.user_id, key, answer);
        }
        self.decision.new.orders.push(NewOrder {
            order: order.clone(),
            key: request.key.clone(),
            from_waitlist: false,
        });
        order
    }

    /// A new order by the product's terms.
    pub(super) fn new_order(&mut self, id: OrderId, user_id: UserId, quantity: i32) -> Order {
        let product = self.product;
        Order::new(OrderTerms {
            id,
            reference: (self.reference)(),
            product_id: product.id,
            user_id,
            quantity,
            unit_price: product.price,
            currency: product.currency.clone(),
            hold_seconds: product.hold_seconds,
            created_at: self.now,
        })
    }
}
