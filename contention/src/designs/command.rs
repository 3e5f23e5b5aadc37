//! Shared types of the designs: the order command, its replies, and the order that is written.

use std::sync::Arc;

use flash_sale::domain::{Order, OrderId, OrderTerms, ProductId, UserId, now, reference};
use serde::Deserialize;

/// The body of `POST /orders`.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct OrderRequest {
    product_id: ProductId,
    quantity: i32,
}

impl OrderRequest {
    /// Without tokens there is one buyer.
    pub(super) fn of(self, buyer: Option<UserId>) -> OrderCommand {
        OrderCommand {
            product_id: self.product_id,
            quantity: self.quantity,
            buyer: buyer.unwrap_or_else(|| Arc::from("buyer")),
        }
    }
}

#[derive(Clone, Debug)]
pub(super) struct OrderCommand {
    pub(super) product_id: ProductId,
    pub(super) quantity: i32,
    pub(super) buyer: UserId,
}

#[derive(Debug)]
pub(super) enum OrderReply {
    Created(Box<Order>),
    SoldOut,
    /// Another request holds the naive design's lock, or the queue of orders to write is full.
    HighDemand,
}

/// The order as the service would write it, confirmed.
pub(super) fn order(command: OrderCommand, unit_price: i64, currency: String) -> Order {
    Order::new(OrderTerms {
        id: OrderId::now_v7(),
        reference: reference(),
        product_id: command.product_id,
        user_id: command.buyer,
        quantity: command.quantity,
        unit_price,
        currency,
        hold_seconds: None,
        created_at: now(),
    })
}
