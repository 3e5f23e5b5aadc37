//! SQL for `orders` and `stray_payments`: a person ends an open payment, after comparing it with the
//! gateway.

use std::sync::Arc;

use chrono::{DateTime, Utc};
use entities::{
    order_status::OrderStatus as Status,
    orders::{COLUMN, Column, Entity},
    payment_status::PaymentStatus,
    stray_payments as strays,
};
use sea_orm::{
    ColumnTrait, EntityTrait, QueryFilter, UpdateMany,
    sea_query::{CaseStatement, Expr},
};
use serde_json::json;

use super::{
    super::{Result, Store, Transaction},
    Lease,
};
use crate::domain::{
    Actor, AuditAction, AuditRow, Change, Order, OrderId, OrderStatus, order_state,
};

/// What a person has found at the gateway.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Found {
    /// The shop has the buyer's money.
    Paid,
    /// The buyer has it.
    Unpaid,
}

impl Store {
    /// Ends the open payment, the open refund or the stray payments of an order, and records who did
    /// it. The owner of the attempt can no longer end it. `None` when nothing is open. The units of a
    /// refunded order still have to be returned.
    pub async fn resolve(
        &self,
        order: &Order,
        found: Found,
        actor: &Arc<Actor>,
    ) -> Result<Option<Order>> {
        let now = self.now();
        let (_place, transaction) = self.payment_transaction().await?;
        self.in_payment_time(async {
            let update = match order.status {
                OrderStatus::Confirming => Some(end_payment(order.id, found, now)),
                OrderStatus::Confirmed => Some(end_refund(found, now)),
                OrderStatus::Pending | OrderStatus::Cancelled | OrderStatus::Expired => None,
            };
            let mut resolved = None;
            if let Some(update) = update {
                let update = update.filter(COLUMN.id.eq(order.id));
                let rows = update.exec_with_returning(&transaction.inner).await?;
                resolved = rows.into_iter().next().map(Order::from);
            }
            if resolved.is_none() && found == Found::Unpaid {
                let has_stray = transaction.end_stray_payments(order.id, now).await?;
                resolved = has_stray.then(|| order.clone());
            }
            let Some(resolved) = resolved else {
                return Ok(None);
            };
            let mut change = Change::between(order_state(order), order_state(&resolved));
            if let Some(after) = change.after.as_object_mut() {
                after.insert("paid".to_owned(), json!(found == Found::Paid));
            }
            let row = AuditRow::new(actor, AuditAction::ResolveOrder, order.id, change, now);
            transaction.commit_audited(row).await?;
            Ok(Some(resolved))
        })
        .await
    }

    /// Gives a payment to its order, if a person has confirmed the order without naming one.
    pub async fn adopt_payment(&self, id: OrderId, payment_id: &str) -> Result<bool> {
        let update = Entity::update_many()
            .col_expr(Column::PaymentId, Expr::value(payment_id))
            .col_expr(Column::PaymentStatus, Expr::value(PaymentStatus::Succeeded))
            .col_expr(Column::ExternalProvider, Expr::cust("NULL"))
            .col_expr(Column::ExternalReference, Expr::cust("NULL"))
            .filter(COLUMN.id.eq(id))
            .filter(Expr::cust("status = 'confirmed'"))
            .filter(Column::PaymentId.is_null())
            .filter(Column::ExternalProvider.eq(AT_GATEWAY));
        let adopted = self.bounded_payment(update.exec(self.payments())).await?;
        Ok(adopted.rows_affected > 0)
    }
}

impl Transaction {
    async fn end_stray_payments(&self, id: OrderId, now: DateTime<Utc>) -> Result<bool> {
        let update = strays::Entity::update_many()
            .col_expr(strays::Column::RefundedAt, Expr::value(now))
            .col_expr(strays::Column::Lease, Expr::cust("NULL"))
            .filter(strays::Column::OrderId.eq(id))
            .filter(strays::Column::RefundedAt.is_null());
        Ok(update.exec(&self.inner).await?.rows_affected > 0)
    }
}

/// The provider of a payment that a person has found at the gateway, and whose identifier the service
/// does not know; its reference is the order's id, which the gateway has in the payment's metadata.
const AT_GATEWAY: &str = "payment gateway";

/// `value` where the condition holds, else null.
fn value_where(condition: Expr, value: Expr) -> Expr {
    let case = CaseStatement::new().case(condition, value);
    case.finally(Expr::cust("NULL")).into()
}

fn end_payment(id: OrderId, found: Found, now: DateTime<Utc>) -> UpdateMany<Entity> {
    let update = Entity::update_many()
        .col_expr(Column::PaymentMethod, Expr::cust("NULL"))
        .col_expr(Column::PaymentAskedAt, Expr::cust("NULL"))
        .col_expr(Column::PaymentLease, Expr::cust("NULL"))
        .col_expr(Column::PaymentClientSecret, Expr::cust("NULL"))
        .col_expr(Column::PaymentActionUntil, Expr::cust("NULL"))
        .filter(Expr::cust("status = 'confirming'"));
    match found {
        // Without the gateway's identifier the payment counts as an outside one, so that a
        // cancellation tells what is to be refunded. If the gateway names it later, the order takes
        // it (`adopt_payment`).
        Found::Paid => update
            .col_expr(Column::Status, Expr::value(Status::Confirmed))
            .col_expr(Column::ConfirmedAt, Expr::value(now))
            .col_expr(
                Column::PaymentStatus,
                value_where(
                    Column::PaymentId.is_not_null(),
                    Expr::value(PaymentStatus::Succeeded),
                ),
            )
            .col_expr(
                Column::ExternalProvider,
                value_where(Column::PaymentId.is_null(), Expr::value(AT_GATEWAY)),
            )
            .col_expr(
                Column::ExternalReference,
                value_where(Column::PaymentId.is_null(), Expr::value(id.to_string())),
            ),
        // A payment that waited for its buyer is cancelled, so the next attempt creates another one.
        Found::Unpaid => update
            .col_expr(Column::Status, Expr::value(Status::Pending))
            .col_expr(
                Column::PaymentId,
                value_where(
                    Column::PaymentClientSecret.is_null(),
                    Expr::col(Column::PaymentId),
                ),
            ),
    }
}

fn end_refund(found: Found, now: DateTime<Utc>) -> UpdateMany<Entity> {
    let update = Entity::update_many()
        .filter(Expr::cust("status = 'confirmed'"))
        .filter(Column::PaymentStatus.eq(PaymentStatus::Refunding));
    match found {
        Found::Paid => update
            .col_expr(Column::PaymentStatus, Expr::value(PaymentStatus::Succeeded))
            .col_expr(Column::PaymentAskedAt, Expr::cust("NULL"))
            .col_expr(Column::PaymentLease, Expr::cust("NULL"))
            .filter(Column::PaymentRefundedAt.is_null()),
        // The recovery returns the units, if the caller cannot.
        Found::Unpaid => update
            .col_expr(Column::PaymentBegunAt, Expr::value(now))
            .col_expr(Column::PaymentAskedAt, Expr::value(now))
            .col_expr(Column::PaymentRefundedAt, Expr::value(now))
            .col_expr(Column::PaymentLease, Expr::value(Lease::now_v7())),
    }
}
