//! SQL for `orders`: payments that were made outside of the service.

use std::sync::Arc;

use entities::{
    order_status::OrderStatus as Status,
    orders::{COLUMN, Column, Entity},
};
use sea_orm::{ColumnTrait, EntityTrait, QueryFilter, sea_query::Expr};
use serde_json::json;

use super::{
    super::{Result, Store},
    status_now,
};
use crate::domain::{
    Actor, AuditAction, AuditRow, Change, ExternalPayment, Order, OrderId, OrderStatus, order_state,
};

/// The result of confirming an order with an outside payment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ExternalConfirmation {
    Confirmed {
        order: Box<Order>,
        from_waitlist: bool,
    },
    /// The same payment has confirmed the order before.
    Repeated(Box<Order>),
    /// The order has this status, or is confirmed otherwise.
    WrongStatus(OrderStatus),
    NotFound,
}

impl Store {
    /// Confirms a pending order that was paid outside, and records who did it. A payment that the gateway has declined is
    /// forgotten: it can never succeed without the service.
    pub async fn write_external_payment(
        &self,
        id: OrderId,
        payment: &ExternalPayment,
        actor: &Arc<Actor>,
    ) -> Result<ExternalConfirmation> {
        let now = self.now();
        let update = Entity::update_many()
            .col_expr(Column::Status, Expr::value(Status::Confirmed))
            .col_expr(Column::ConfirmedAt, Expr::value(now))
            .col_expr(Column::ExternalProvider, Expr::value(&*payment.provider))
            .col_expr(Column::ExternalReference, Expr::value(&*payment.reference))
            .col_expr(Column::PaymentId, Expr::cust("NULL"))
            .col_expr(Column::PaymentStatus, Expr::cust("NULL"))
            .filter(COLUMN.id.eq(id))
            .filter(Expr::cust("status = 'pending'"))
            .filter(Column::ExpiresAt.gt(now));
        let (place, transaction) = self.payment_transaction().await?;
        let confirmed = self.in_payment_time(async {
            let rows = update.exec_with_returning(&transaction.inner).await?;
            let Some(row) = rows.into_iter().next() else {
                return Ok(None);
            };
            let from_waitlist = row.from_waitlist;
            let order = Order::from(row);
            let change = Change::between(json!({ "status": "pending" }), order_state(&order));
            let row = AuditRow::new(actor, AuditAction::ConfirmOrder, id, change, now);
            transaction.commit_audited(row).await?;
            let order = Box::new(order);
            Ok(Some(ExternalConfirmation::Confirmed {
                order,
                from_waitlist,
            }))
        });
        if let Some(confirmed) = confirmed.await? {
            return Ok(confirmed);
        }
        drop(place);
        let Some(order) = self.order(id).await? else {
            return Ok(ExternalConfirmation::NotFound);
        };
        let is_same = order.external_payment.as_ref().is_some_and(|known| {
            known.provider == payment.provider && known.reference == payment.reference
        });
        if is_same && order.status == OrderStatus::Confirmed {
            let order = self.durable_order(id).await?.unwrap_or(order);
            return Ok(ExternalConfirmation::Repeated(Box::new(order)));
        }
        Ok(ExternalConfirmation::WrongStatus(status_now(&order, now)))
    }
}
