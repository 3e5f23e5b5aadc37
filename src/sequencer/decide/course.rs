//! The course of a decision: what is left between two wishes, and how an order is judged by it.

use std::sync::Arc;

use chrono::{DateTime, TimeDelta, Utc};

use super::{Decision, Facts};
use crate::{
    domain::{IdempotencyKey, Order, OrderId, OrderRequest, OrderStatus, Outcome, Product, UserId},
    store::{Known, NewOrder, Remembered},
};

/// The state of a decision between two wishes.
pub(super) struct Course<'a, R> {
    pub(super) product: &'a Product,
    pub(super) facts: Facts,
    pub(super) now: DateTime<Utc>,
    reference: R,
    pub(super) decision: Decision,
}

impl<'a, R: FnMut() -> String> Course<'a, R> {
    pub(super) fn new(
        product: &'a Product,
        facts: Facts,
        now: DateTime<Utc>,
        reference: R,
    ) -> Self {
        Self {
            product,
            facts,
            now,
            reference,
            decision: Decision {
                stock: product.stock,
                stock_total: product.stock_total,
                stock_reserved: product.stock_reserved,
                ..Decision::default()
            },
        }
    }

    /// Refuses in the order of the contract, or sells. An answer that was given once is given
    /// again, whatever has changed since.
    pub(super) fn order(&mut self, request: &OrderRequest) -> Outcome {
        let known = self.known(request);
        if let Some(replay @ (Outcome::Replayed(_) | Outcome::WaitReplayed(_))) = known {
            return replay;
        }
        if self.may_pass(request) {
            // So that nobody is passed who fits.
            self.serve_who_waits();
        }
        let refusal = self
            .refuse_by_terms(request)
            .or(known)
            .or_else(|| self.place_of(request))
            .or_else(|| self.refuse_by_limit(request));
        if let Some(refusal) = refusal {
            return refusal;
        }
        if request.quantity <= self.within_reach(request) {
            return Outcome::Created(self.sell(request));
        }
        if self.may_wait(request) {
            return Outcome::Waitlisted(self.join(request));
        }
        self.refuse_by_stock()
    }

    /// Units that nobody holds and nobody has waited for.
    pub(super) fn for_sale(&self) -> i32 {
        self.decision.stock - self.decision.stock_reserved
    }

    /// Units that this request may take. One that would wait need not where those who fit may
    /// pass: what is kept is too little for everybody before it, as far as they were looked up.
    pub(super) fn within_reach(&self, request: &OrderRequest) -> i32 {
        if self.may_pass(request) && self.facts.queue.is_whole {
            return self.decision.stock;
        }
        self.for_sale()
    }

    /// Whether units are kept that this request might take, if nobody before it can.
    fn may_pass(&self, request: &OrderRequest) -> bool {
        self.product.waitlist_skip && self.decision.stock_reserved > 0 && self.may_wait(request)
    }

    fn known(&self, request: &OrderRequest) -> Option<Outcome> {
        let key = request.key.as_ref()?;
        let name = (Arc::clone(&request.user_id), key.key.clone());
        let known = self.facts.known.get(&name)?;
        if known.request != key.request {
            return Some(Outcome::KeyReused);
        }
        Some(match &known.answer {
            Remembered::Order(order) => Outcome::Replayed((**order).clone()),
            Remembered::Entry(entry) => Outcome::WaitReplayed(entry.clone()),
        })
    }

    fn refuse_by_terms(&self, request: &OrderRequest) -> Option<Outcome> {
        let product = self.product;
        if request.quantity > product.max_per_order {
            return Some(Outcome::QuantityOverLimit {
                max_per_order: product.max_per_order,
            });
        }
        (!product.on_sale(self.now)).then_some(Outcome::NotOnSale {
            starts_at: product.starts_at,
            ends_at: product.ends_at,
        })
    }

    fn refuse_by_limit(&self, request: &OrderRequest) -> Option<Outcome> {
        let limit = self.product.max_per_user?;
        let held = self.facts.held.get(&request.user_id).copied().unwrap_or(0);
        let wanted = held + i64::from(request.quantity);
        (wanted > i64::from(limit)).then_some(Outcome::PurchaseLimit { limit, held })
    }

    fn refuse_by_stock(&self) -> Outcome {
        let available = self.for_sale();
        if available == 0 {
            return Outcome::SoldOut {
                waitlist: self.product.waitlist,
            };
        }
        Outcome::InsufficientStock { available }
    }

    fn sell(&mut self, request: &OrderRequest) -> Order {
        let order = self.new_order(
            request.order_id,
            Arc::clone(&request.user_id),
            request.quantity,
        );
        self.decision.stock -= request.quantity;
        let kept = self.decision.stock_reserved.min(self.decision.stock);
        self.decision.stock_reserved = kept;
        self.hold(&request.user_id, request.quantity);
        if let Some(key) = &request.key {
            let answer = Remembered::Order(Box::new(order.clone()));
            self.remember(&request.user_id, key, answer);
        }
        self.decision.new.orders.push(NewOrder {
            order: order.clone(),
            key: request.key.clone(),
            from_waitlist: false,
        });
        order
    }

    /// Counts units towards a user's limit; negative ones are given back.
    pub(super) fn hold(&mut self, user: &UserId, quantity: i32) {
        *self.facts.held.entry(Arc::clone(user)).or_default() += i64::from(quantity);
    }

    pub(super) fn remember(&mut self, user: &UserId, key: &IdempotencyKey, answer: Remembered) {
        let name = (Arc::clone(user), key.key.clone());
        let request = key.request.clone();
        self.facts.known.insert(name, Known { answer, request });
    }

    pub(super) fn new_order(&mut self, id: OrderId, user_id: UserId, quantity: i32) -> Order {
        let product = self.product;
        let hold = product.hold_seconds;
        let expires_at = hold.map(|seconds| self.now + TimeDelta::seconds(seconds.into()));
        Order {
            id,
            reference: (self.reference)(),
            product_id: product.id,
            user_id,
            quantity,
            unit_price: product.price,
            total: product.price.saturating_mul(i64::from(quantity)),
            currency: product.currency.clone(),
            status: match hold {
                Some(_) => OrderStatus::Pending,
                None => OrderStatus::Confirmed,
            },
            created_at: self.now,
            expires_at,
            confirmed_at: hold.is_none().then_some(self.now),
            payment: None,
        }
    }
}
