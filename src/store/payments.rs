//! SQL for `orders`: the payment columns.
//!
//! None of these statements changes stock or the set of live orders, so they need no lane; each one
//! names the status that the order must have.

use chrono::{DateTime, TimeDelta, Utc};
use entities::{
    order_status::OrderStatus as Status,
    orders::{COLUMN, Column, Entity, Model},
    payment_status::PaymentStatus,
};
use sea_orm::{
    ColumnTrait, EntityTrait, ExprTrait, QueryFilter, QuerySelect, QueryTrait, UpdateMany,
    sea_query::Expr,
};

use super::{Result, Store};
use crate::domain::{Order, OrderId, OrderStatus, Payment, UserId};

/// Stale payments that one call takes over.
const STALE_PAYMENTS_MAX: u64 = 100;
/// Gateways keep idempotency keys for a day (<https://docs.stripe.com/api/idempotent_requests>).
const KEYS_KEPT: TimeDelta = TimeDelta::hours(23);

/// An order whose payment or refund is in progress at the gateway.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PaymentAttempt {
    pub order: Order,
    /// The buyer's payment method; empty for a refund.
    pub payment_method: String,
    /// 1 for the buyer's first attempt.
    pub number: i32,
    pub from_waitlist: bool,
}

/// Whether the gateway may be called.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum BeginPayment {
    Begun(Box<PaymentAttempt>),
    /// The order has this status, which does not allow the call.
    WrongStatus(OrderStatus),
    NotFound,
}

/// The result of a payment attempt.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PaymentEnd {
    Paid(Payment),
    /// The total is 0; the gateway was not called.
    Free,
    /// With the gateway's payment id that the next attempt must use, if any.
    Declined(Option<String>),
    /// The gateway did not receive or did not accept the request: no money has moved.
    NotCharged,
}

impl PaymentAttempt {
    fn new(row: Model) -> Self {
        Self {
            payment_method: row.payment_method.clone().unwrap_or_default(),
            number: row.payment_attempt,
            from_waitlist: row.from_waitlist,
            order: row.into(),
        }
    }

    /// The gateway's identifier of the payment, if it has assigned one.
    pub fn payment_id(&self) -> Option<&str> {
        self.order.payment.as_ref().map(|payment| &*payment.id)
    }
}

impl Store {
    /// Marks a pending order of the user as confirming, so that it does not expire during the
    /// gateway call.
    pub async fn begin_payment(
        &self,
        id: OrderId,
        user: &UserId,
        payment_method: &str,
        now: DateTime<Utc>,
    ) -> Result<BeginPayment> {
        let update = Entity::update_many()
            .col_expr(Column::Status, Expr::value(Status::Confirming))
            .col_expr(Column::PaymentMethod, Expr::value(payment_method))
            .col_expr(
                Column::PaymentAttempt,
                Expr::col(Column::PaymentAttempt).add(1),
            )
            .col_expr(Column::PaymentBegunAt, Expr::value(now))
            .col_expr(Column::PaymentAskedAt, Expr::value(now))
            .filter(COLUMN.id.eq(id))
            .filter(Column::UserId.eq(&**user))
            .filter(Expr::cust("status = 'pending'"))
            .filter(Column::ExpiresAt.gt(now));
        self.begin_with(id, now, update).await
    }

    /// Marks the payment of a confirmed order as refunding.
    pub async fn begin_refund(&self, id: OrderId, now: DateTime<Utc>) -> Result<BeginPayment> {
        let update = Entity::update_many()
            .col_expr(Column::PaymentStatus, Expr::value(PaymentStatus::Refunding))
            .col_expr(Column::PaymentBegunAt, Expr::value(now))
            .col_expr(Column::PaymentAskedAt, Expr::value(now))
            .filter(COLUMN.id.eq(id))
            .filter(Expr::cust("status = 'confirmed'"))
            .filter(Column::PaymentId.is_not_null());
        self.begin_with(id, now, update).await
    }

    /// Runs the update; when it matches no order, reports the status that prevented it.
    async fn begin_with(
        &self,
        id: OrderId,
        now: DateTime<Utc>,
        update: UpdateMany<Entity>,
    ) -> Result<BeginPayment> {
        let rows = self
            .bounded_write(update.exec_with_returning(&self.write))
            .await?;
        if let Some(row) = rows.into_iter().next() {
            return Ok(BeginPayment::Begun(Box::new(PaymentAttempt::new(row))));
        }
        let Some(order) = self.order(id).await? else {
            return Ok(BeginPayment::NotFound);
        };
        let expired = order.expires_at.is_some_and(|end| end <= now);
        Ok(BeginPayment::WrongStatus(match order.status {
            // Its lane has not expired the hold yet.
            OrderStatus::Pending if expired => OrderStatus::Expired,
            status @ (OrderStatus::Pending
            | OrderStatus::Confirming
            | OrderStatus::Confirmed
            | OrderStatus::Cancelled
            | OrderStatus::Expired) => status,
        }))
    }

    /// Writes the result of the attempt; `None` when another caller has already written one.
    pub async fn end_payment(
        &self,
        attempt: &PaymentAttempt,
        end: PaymentEnd,
        now: DateTime<Utc>,
    ) -> Result<Option<Order>> {
        let pending = |update: UpdateMany<Entity>| {
            update.col_expr(Column::Status, Expr::value(Status::Pending))
        };
        let update = Entity::update_many()
            .col_expr(Column::PaymentMethod, Expr::cust("NULL"))
            .col_expr(Column::PaymentAskedAt, Expr::cust("NULL"))
            .filter(COLUMN.id.eq(attempt.order.id))
            .filter(Expr::cust("status = 'confirming'"))
            .filter(Column::PaymentAttempt.eq(attempt.number));
        let update = match end {
            PaymentEnd::Paid(payment) => update
                .col_expr(Column::Status, Expr::value(Status::Confirmed))
                .col_expr(Column::ConfirmedAt, Expr::value(now))
                .col_expr(Column::PaymentId, Expr::value(payment.id))
                .col_expr(
                    Column::PaymentStatus,
                    Expr::value(PaymentStatus::from(payment.status)),
                ),
            PaymentEnd::Free => update
                .col_expr(Column::Status, Expr::value(Status::Confirmed))
                .col_expr(Column::ConfirmedAt, Expr::value(now)),
            PaymentEnd::Declined(id) => {
                let status = id.as_ref().map(|_| PaymentStatus::Declined);
                pending(update)
                    .col_expr(Column::PaymentId, Expr::value(id))
                    .col_expr(Column::PaymentStatus, Expr::value(status))
            }
            PaymentEnd::NotCharged => pending(update),
        };
        let rows = self
            .bounded_write(update.exec_with_returning(&self.write))
            .await?;
        Ok(rows.into_iter().next().map(Order::from))
    }

    /// Resets a refund that certainly moved no money.
    pub async fn abandon_refund(&self, id: OrderId) -> Result<()> {
        let update = Entity::update_many()
            .col_expr(Column::PaymentStatus, Expr::value(PaymentStatus::Succeeded))
            .col_expr(Column::PaymentAskedAt, Expr::cust("NULL"))
            .filter(COLUMN.id.eq(id))
            .filter(Expr::cust("status = 'confirmed'"))
            .filter(Column::PaymentStatus.eq(PaymentStatus::Refunding));
        self.bounded_write(update.exec(&self.write)).await?;
        Ok(())
    }

    /// Takes over payments and refunds whose last gateway call was before `before`; other nodes
    /// that search now do not find them. Attempts older than `KEYS_KEPT` are left to operators: the
    /// gateway may have dropped their idempotency keys, so a repeated call might charge again.
    pub async fn take_over_stale_payments(
        &self,
        before: DateTime<Utc>,
        now: DateTime<Utc>,
    ) -> Result<Vec<PaymentAttempt>> {
        let stale = Entity::find()
            .select_only()
            .column(Column::Id)
            .filter(Column::PaymentAskedAt.lt(before))
            .filter(Column::PaymentBegunAt.gt(now - KEYS_KEPT))
            .limit(STALE_PAYMENTS_MAX)
            .into_query();
        let update = Entity::update_many()
            .col_expr(Column::PaymentAskedAt, Expr::value(now))
            .filter(Column::PaymentAskedAt.lt(before))
            .filter(Column::Id.in_subquery(stale));
        let rows = self
            .bounded_write(update.exec_with_returning(&self.write))
            .await?;
        Ok(rows.into_iter().map(PaymentAttempt::new).collect())
    }
}
