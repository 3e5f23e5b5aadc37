//! What the designs share: the wish, the three answers, the order that a buyer gets.
//!
//! The naive design, with this and its HTTP side, is also the baseline of `contention`.

use std::sync::Arc;

use flash_sale::domain::{Order, OrderId, OrderStatus, ProductId, now, reference};
use serde::Deserialize;

#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Wish {
    pub(crate) product_id: ProductId,
    pub(crate) quantity: i32,
}

#[derive(Debug)]
pub(crate) enum Answer {
    Created(Box<Order>),
    SoldOut,
    /// Somebody else has the product; only the naive design says so.
    HighDemand,
}

/// The order as the service would write it, sold at once. Without a login everybody is one buyer.
pub(crate) fn order(wish: Wish, unit_price: i64, currency: String) -> Order {
    let now = now();
    Order {
        id: OrderId::now_v7(),
        reference: reference(),
        product_id: wish.product_id,
        user_id: Arc::from("buyer"),
        quantity: wish.quantity,
        unit_price,
        total: unit_price.saturating_mul(i64::from(wish.quantity)),
        currency,
        status: OrderStatus::Confirmed,
        created_at: now,
        expires_at: None,
        confirmed_at: Some(now),
        payment: None,
    }
}
