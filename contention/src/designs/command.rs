//! Shared types of the designs: the order command, its replies, and the order that is written.

use std::sync::Arc;

use flash_sale::domain::{Order, OrderId, OrderTerms, ProductId, now, reference};
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
    /// Another request holds the lock; only in the naive design.
    HighDemand,
}

/// The order as the service would write it, confirmed. Without tokens there is one buyer.
pub(super) fn order(command: OrderCommand, unit_price: i64, currency: String) -> Order {
    Order::new(OrderTerms {
        id: OrderId::now_v7(),
        reference: reference(),
        product_id: command.product_id,
        user_id: Arc::from("buyer"),
        quantity: command.quantity,
        unit_price,
        currency,
        hold_seconds: None,
        created_at: now(),
    })
}
