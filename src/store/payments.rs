//! SQL for `orders`: the payment columns. None of these statements changes stock or the set of live
//! orders, so they need no lane; each one names the status that the order must have.

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

/// Payments that one look for forgotten ones takes up.
const FORGOTTEN_MAX: u64 = 100;
/// Gateways keep idempotency keys for a day (<https://docs.stripe.com/api/idempotent_requests>).
const REMEMBERED: TimeDelta = TimeDelta::hours(23);

/// An order about whose money the gateway is being asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PaymentAttempt {
    pub order: Order,
    /// What the buyer pays with; empty for a refund.
    pub payment_method: String,
    /// 1 for the buyer's first try.
    pub number: i32,
    pub from_waitlist: bool,
}

/// Whether the gateway may be asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum BeginPayment {
    Begun(Box<PaymentAttempt>),
    /// The order has this status, which forbids it.
    WrongStatus(OrderStatus),
    NotFound,
}

/// What the gateway said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PaymentEnd {
    Paid(Payment),
    /// There was nothing to pay.
    Free,
    /// With the gateway's name for the payment that the next try must use, if any.
    Declined(Option<String>),
    /// It never heard of it.
    NotAsked,
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

    /// The gateway's name for the payment, once there is one.
    pub fn payment_id(&self) -> Option<&str> {
        self.order.payment.as_ref().map(|payment| &*payment.id)
    }
}

impl Store {
    /// Keeps a pending order of the user from expiring while the gateway is asked.
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
        self.begun(id, now, update).await
    }

    /// Notes that a confirmed order's money is to be given back.
    pub async fn begin_refund(&self, id: OrderId, now: DateTime<Utc>) -> Result<BeginPayment> {
        let update = Entity::update_many()
            .col_expr(Column::PaymentStatus, Expr::value(PaymentStatus::Refunding))
            .col_expr(Column::PaymentBegunAt, Expr::value(now))
            .col_expr(Column::PaymentAskedAt, Expr::value(now))
            .filter(COLUMN.id.eq(id))
            .filter(Expr::cust("status = 'confirmed'"))
            .filter(Column::PaymentId.is_not_null());
        self.begun(id, now, update).await
    }

    async fn begun(
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
        let over = order.expires_at.is_some_and(|end| end <= now);
        Ok(BeginPayment::WrongStatus(match order.status {
            // Its lane has not got to it yet.
            OrderStatus::Pending if over => OrderStatus::Expired,
            status @ (OrderStatus::Pending
            | OrderStatus::Confirming
            | OrderStatus::Confirmed
            | OrderStatus::Cancelled
            | OrderStatus::Expired) => status,
        }))
    }

    /// Writes what the gateway said; none if somebody else wrote it before.
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
            PaymentEnd::NotAsked => pending(update),
        };
        let rows = self
            .bounded_write(update.exec_with_returning(&self.write))
            .await?;
        Ok(rows.into_iter().next().map(Order::from))
    }

    /// A refund that the gateway certainly never heard of.
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

    /// Takes up payments and refunds about which nobody has asked since `before`; another node
    /// that looks now does not find them. What began longer ago than a gateway remembers is left
    /// to people: asked again, it might be charged again.
    pub async fn take_over_stale_payments(
        &self,
        before: DateTime<Utc>,
        now: DateTime<Utc>,
    ) -> Result<Vec<PaymentAttempt>> {
        let forgotten = Entity::find()
            .select_only()
            .column(Column::Id)
            .filter(Column::PaymentAskedAt.lt(before))
            .filter(Column::PaymentBegunAt.gt(now - REMEMBERED))
            .limit(FORGOTTEN_MAX)
            .into_query();
        let update = Entity::update_many()
            .col_expr(Column::PaymentAskedAt, Expr::value(now))
            .filter(Column::PaymentAskedAt.lt(before))
            .filter(Column::Id.in_subquery(forgotten));
        let rows = self
            .bounded_write(update.exec_with_returning(&self.write))
            .await?;
        Ok(rows.into_iter().map(PaymentAttempt::new).collect())
    }
}
