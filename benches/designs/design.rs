//! What the designs share: the wish, the three answers, the order that a buyer gets.

use std::{sync::Arc, time::Duration};

use anyhow::Context;
use flash_sale::domain::{Order, OrderId, OrderStatus, ProductId, now, reference};
use sea_orm::{ConnectOptions, Database, DatabaseConnection};
use serde::Deserialize;

use crate::{naive::Naive, row_lock::RowLock, statement::SingleStatement};

/// Longer than any queue at the hot row: a design is to be slow, not to fail.
const ACQUIRE_TIMEOUT: Duration = Duration::from_secs(10);

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

#[derive(Debug)]
pub(crate) enum Design {
    Naive(Naive),
    RowLock(RowLock),
    SingleStatement(SingleStatement),
}

impl Design {
    pub(crate) async fn place(&self, wish: Wish) -> anyhow::Result<Answer> {
        match self {
            Self::Naive(design) => design.place(wish).await,
            Self::RowLock(design) => design.place(wish).await,
            Self::SingleStatement(design) => design.place(wish).await,
        }
    }
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

/// A pool as the service's own is: open connections, no ping before a use, no statement log.
pub(crate) async fn connect(url: &str, connections: u32) -> anyhow::Result<DatabaseConnection> {
    let mut options = ConnectOptions::new(url);
    options
        .max_connections(connections)
        .min_connections(1)
        .acquire_timeout(ACQUIRE_TIMEOUT)
        .connect_timeout(ACQUIRE_TIMEOUT)
        .test_before_acquire(false)
        .record_stmt_in_spans(false)
        .sqlx_logging(false);
    Database::connect(options)
        .await
        .context("cannot open the database")
}
