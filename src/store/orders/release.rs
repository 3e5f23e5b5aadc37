//! SQL for `orders`: cancels, expires or undoes orders whose units a lane returns to the stock.

use entities::{
    order_status::OrderStatus as Status,
    orders::{Column, Entity},
    payment_status::PaymentStatus,
};
use sea_orm::{ColumnTrait, EntityTrait, ExprTrait, PaginatorTrait, QueryFilter, sea_query::Expr};

use super::super::{Result, Transaction, padded};
use crate::domain::{OrderId, OrderStatus, ProductId};

/// The reason for ending an order, and the status that the order must have.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Release {
    /// A pending order, by its buyer or an admin.
    Cancel,
    /// A pending order whose hold has expired.
    Expire,
    /// A confirmed order without a payment, or with a refunded one.
    Undo,
}

impl Release {
    pub const ALL: [Self; 3] = [Self::Cancel, Self::Expire, Self::Undo];

    /// The status of the orders afterwards.
    pub fn status(self) -> OrderStatus {
        match self {
            Self::Cancel | Self::Undo => OrderStatus::Cancelled,
            Self::Expire => OrderStatus::Expired,
        }
    }
}

/// Conditions of the status in words that no index has: orders are found by their ids. With the
/// product beside them, the planner would read all live orders of a product that it takes for few.
const IS_PENDING: &str = "status || '' = 'pending'";
const IS_CONFIRMED: &str = "status || '' = 'confirmed'";

impl Transaction {
    /// Releases orders of the product; false when one of them no longer has the required status.
    pub async fn release_orders(
        &self,
        product: ProductId,
        release: Release,
        ids: &[OrderId],
    ) -> Result<bool> {
        if ids.is_empty() {
            return Ok(true);
        }
        let mut update = Entity::update_many()
            .col_expr(Column::Status, Expr::value(Status::from(release.status())))
            .filter(Column::ProductId.eq(product))
            .filter(Column::Id.is_in(padded(ids.to_vec())));
        update = match release {
            Release::Cancel | Release::Expire => update.filter(Expr::cust(IS_PENDING)),
            Release::Undo => update
                .col_expr(
                    Column::PaymentStatus,
                    Expr::case(
                        Column::PaymentId.is_not_null(),
                        Expr::value(PaymentStatus::Refunded),
                    )
                    .finally(Expr::col(Column::PaymentStatus))
                    .into(),
                )
                .col_expr(Column::PaymentAskedAt, Expr::cust("NULL"))
                .col_expr(Column::PaymentLease, Expr::cust("NULL"))
                .filter(Expr::cust(IS_CONFIRMED))
                .filter(
                    Column::PaymentId
                        .is_null()
                        .or(Column::PaymentStatus.eq(PaymentStatus::Refunding)),
                ),
        };
        let released = update.exec(&self.inner).await?.rows_affected;
        Ok(usize::try_from(released) == Ok(ids.len()))
    }

    /// Whether all of these orders of the product have the status that this release sets.
    pub async fn are_released(
        &self,
        product: ProductId,
        release: Release,
        ids: &[OrderId],
    ) -> Result<bool> {
        if ids.is_empty() {
            return Ok(true);
        }
        let released = Entity::find()
            .filter(Column::ProductId.eq(product))
            .filter(Column::Id.is_in(padded(ids.to_vec())))
            .filter(Column::Status.eq(Status::from(release.status())))
            .count(&self.inner)
            .await?;
        Ok(usize::try_from(released) == Ok(ids.len()))
    }
}
