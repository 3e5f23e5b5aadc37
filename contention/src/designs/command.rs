//! What the designs share: the order command, its three replies, the order that a buyer gets.

use std::sync::Arc;

use flash_sale::domain::{Order, OrderId, OrderStatus, ProductId, now, reference};
use serde::Deserialize;

#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct OrderCommand {
    pub(super) product_id: ProductId,
    pub(super) quantity: i32,
}

#[derive(Debug)]
pub(super) enum OrderReply {
    Created(Box<Order>),
    SoldOut,
    /// Another request holds the lock; only the naive design replies so.
    HighDemand,
}

/// The order as the service would write it, sold at once. Without a login there is one buyer.
pub(super) fn order(command: OrderCommand, unit_price: i64, currency: String) -> Order {
    let now = now();
    Order {
        id: OrderId::now_v7(),
        reference: reference(),
        product_id: command.product_id,
        user_id: Arc::from("buyer"),
        quantity: command.quantity,
        unit_price,
        total: unit_price.saturating_mul(i64::from(command.quantity)),
        currency,
        status: OrderStatus::Confirmed,
        created_at: now,
        expires_at: None,
        confirmed_at: Some(now),
        payment: None,
    }
}
