//! The decision: a pure function from what is true to what shall be.
//!
//! Wishes are decided in their order of arrival, each against what those before it left. A wish
//! that does not fit never keeps a later one that fits from being served.

use std::{collections::HashMap, sync::Arc};

use chrono::{DateTime, TimeDelta, Utc};

use crate::{
    domain::{Order, OrderRequest, OrderStatus, Outcome, Product, STOCK_MAX, UserId},
    store::{KnownOrder, NewOrders},
};

/// What somebody wants of a product.
#[derive(Clone, Debug)]
pub(super) enum Wish {
    Order(Box<OrderRequest>),
    Restock(i32),
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
    NothingToRestock,
    /// More units than [`STOCK_MAX`] would have been offered.
    RestockTooLarge,
}

/// What is true of a product before the batch.
#[derive(Clone, Debug, Default)]
pub(super) struct Facts {
    /// Orders that the wishes' idempotency keys stand for.
    pub(super) known: HashMap<(UserId, String), KnownOrder>,
    /// Units that the wishes' users hold; empty where the product has no limit.
    pub(super) held: HashMap<UserId, i64>,
}

/// What shall be: a verdict per wish, in their order, and what to write.
#[derive(Clone, Debug, Default)]
pub(super) struct Decision {
    pub(super) verdicts: Vec<Verdict>,
    pub(super) stock: i32,
    pub(super) stock_total: i32,
    pub(super) new: NewOrders,
}

impl Decision {
    /// Whether anything is to be written.
    pub(super) fn changes(&self, product: &Product) -> bool {
        !self.new.orders.is_empty()
            || self.stock != product.stock
            || self.stock_total != product.stock_total
    }

    pub(super) fn units(&self) -> u64 {
        let units = self.new.orders.iter().map(|(order, _)| order.quantity);
        units.map(|units| u64::try_from(units).unwrap_or(0)).sum()
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
    let mut course = Course {
        product,
        facts,
        now,
        reference,
        decision: Decision {
            stock: product.stock,
            stock_total: product.stock_total,
            ..Decision::default()
        },
    };
    for wish in wishes {
        let verdict = match wish {
            Wish::Order(request) => Verdict::Order(course.order(request)),
            Wish::Restock(quantity) => course.restock(*quantity),
        };
        course.decision.verdicts.push(verdict);
    }
    course.decision
}

/// The state of a decision between two wishes.
struct Course<'a, R> {
    product: &'a Product,
    facts: Facts,
    now: DateTime<Utc>,
    reference: R,
    decision: Decision,
}

impl<R: FnMut() -> String> Course<'_, R> {
    fn restock(&mut self, quantity: i32) -> Verdict {
        match self.decision.stock_total.checked_add(quantity) {
            Some(total) if total <= STOCK_MAX => {
                self.decision.stock_total = total;
                self.decision.stock += quantity;
                Verdict::Restocked
            }
            Some(_) | None => Verdict::RestockTooLarge,
        }
    }

    /// Refuses in the order of the contract, or sells. An answer that was given once is given
    /// again, whatever has changed since.
    fn order(&mut self, request: &OrderRequest) -> Outcome {
        let known = self.known(request);
        if let Some(Outcome::Replayed(order)) = known {
            return Outcome::Replayed(order);
        }
        let refusal = self
            .refuse_by_terms(request)
            .or(known)
            .or_else(|| self.refuse_by_limit(request))
            .or_else(|| self.refuse_by_stock(request));
        refusal.unwrap_or_else(|| Outcome::Created(self.sell(request)))
    }

    fn known(&self, request: &OrderRequest) -> Option<Outcome> {
        let key = request.key.as_ref()?;
        let name = (Arc::clone(&request.user_id), key.key.clone());
        let known = self.facts.known.get(&name)?;
        Some(if known.request == key.request {
            Outcome::Replayed(known.order.clone())
        } else {
            Outcome::KeyReused
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

    fn refuse_by_stock(&self, request: &OrderRequest) -> Option<Outcome> {
        let available = self.decision.stock;
        if available == 0 {
            return Some(Outcome::SoldOut { waitlist: false });
        }
        (available < request.quantity).then_some(Outcome::InsufficientStock { available })
    }

    fn sell(&mut self, request: &OrderRequest) -> Order {
        let order = self.new_order(request);
        self.decision.stock -= request.quantity;
        *self
            .facts
            .held
            .entry(Arc::clone(&request.user_id))
            .or_default() += i64::from(request.quantity);
        if let Some(key) = &request.key {
            let known = KnownOrder {
                order: order.clone(),
                request: key.request.clone(),
            };
            let name = (Arc::clone(&request.user_id), key.key.clone());
            self.facts.known.insert(name, known);
        }
        self.decision
            .new
            .orders
            .push((order.clone(), request.key.clone()));
        order
    }

    fn new_order(&mut self, request: &OrderRequest) -> Order {
        let hold = self.product.hold_seconds;
        let expires_at = hold.map(|seconds| self.now + TimeDelta::seconds(seconds.into()));
        Order {
            id: request.order_id,
            reference: (self.reference)(),
            product_id: self.product.id,
            user_id: Arc::clone(&request.user_id),
            quantity: request.quantity,
            unit_price: self.product.price,
            total: self
                .product
                .price
                .saturating_mul(i64::from(request.quantity)),
            currency: self.product.currency.clone(),
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

#[cfg(test)]
mod tests;
