//! Orders that give their units back.

use entities::{
    order_status::OrderStatus as Status,
    orders::{Column, Entity},
};
use sea_orm::{ColumnTrait, EntityTrait, ExprTrait, PaginatorTrait, QueryFilter, sea_query::Expr};

use super::super::{Result, Transaction, padded};
use crate::domain::{OrderId, OrderStatus};

/// Why an order gives its units back, and what it must be for that.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Release {
    /// A pending order, by its buyer or an admin.
    Cancel,
    /// A pending order whose hold has ended.
    Expire,
    /// A confirmed order without a payment, or with one that was given back.
    Undo,
}

impl Release {
    pub const ALL: [Self; 3] = [Self::Cancel, Self::Expire, Self::Undo];

    /// What the orders become.
    pub fn status(self) -> OrderStatus {
        match self {
            Self::Cancel | Self::Undo => OrderStatus::Cancelled,
            Self::Expire => OrderStatus::Expired,
        }
    }
}

/// What a payment is while it is given back, and afterwards.
pub(in crate::store) const REFUNDING: &str = "refunding";
pub(in crate::store) const REFUNDED: &str = "refunded";

impl Transaction {
    /// Releases orders; false when one of them is no longer what it must be.
    pub async fn release_orders(&self, release: Release, ids: &[OrderId]) -> Result<bool> {
        if ids.is_empty() {
            return Ok(true);
        }
        let mut update = Entity::update_many()
            .col_expr(Column::Status, Expr::value(Status::from(release.status())))
            .filter(Column::Id.is_in(padded(ids.to_vec())));
        update = match release {
            Release::Cancel | Release::Expire => update.filter(Expr::cust("status = 'pending'")),
            Release::Undo => update
                .col_expr(
                    Column::PaymentStatus,
                    Expr::case(Column::PaymentId.is_not_null(), Expr::value(REFUNDED))
                        .finally(Expr::col(Column::PaymentStatus))
                        .into(),
                )
                .col_expr(Column::PaymentAskedAt, Expr::cust("NULL"))
                .filter(Expr::cust("status = 'confirmed'"))
                .filter(
                    Column::PaymentId
                        .is_null()
                        .or(Column::PaymentStatus.eq(REFUNDING)),
                ),
        };
        let released = update.exec(&self.inner).await?.rows_affected;
        Ok(usize::try_from(released) == Ok(ids.len()))
    }

    /// Whether all of these orders are what this release makes of them.
    pub async fn are_released(&self, release: Release, ids: &[OrderId]) -> Result<bool> {
        if ids.is_empty() {
            return Ok(true);
        }
        let released = Entity::find()
            .filter(Column::Id.is_in(padded(ids.to_vec())))
            .filter(Column::Status.eq(Status::from(release.status())))
            .count(&self.inner)
            .await?;
        Ok(usize::try_from(released) == Ok(ids.len()))
    }
}
