//! SQL for `orders`: the payment columns.
//!
//! None of these statements changes stock or the set of live orders, so they need no lane; each one
//! names the status that the order must have. A statement that ends an attempt names the attempt's
//! lease too, unless the gateway has reported that money has moved: that is true from any caller.

use std::sync::Arc;

use chrono::{DateTime, Utc};
use entities::{
    order_status::OrderStatus as Status,
    orders::{COLUMN, Column, Entity, Model},
    payment_status::PaymentStatus,
};
use sea_orm::{ColumnTrait, EntityTrait, ExprTrait, QueryFilter, UpdateMany, sea_query::Expr};

use super::{Result, Store};
use crate::domain::{
    Actor, AuditAction, AuditRow, Change, Order, OrderId, OrderStatus, Payment, UserId, order_state,
};

mod authentication;
mod external;
mod open;
mod pool;
mod recovery;
mod resolve;
mod stray;

pub use self::{
    authentication::{BuyerAction, WaitingPayment},
    external::ExternalConfirmation,
    open::{OpenPayment, OpenState},
    resolve::Found,
    stray::StrayPayment,
};

pub(super) use self::pool::Pool;

/// Payments of one order that may be declined: more would let a thief try out cards.
pub const DECLINES_MAX: u32 = 10;

/// A random number in the row of an open payment. Who wrote it owns the attempt, until another
/// caller takes the payment over and writes its own.
pub type Lease = uuid::Uuid;

/// An order whose payment or refund is in progress at the gateway.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PaymentAttempt {
    pub order: Order,
    /// The buyer's payment method; empty for a refund.
    pub payment_method: String,
    /// 1 for the buyer's first attempt.
    pub number: i32,
    pub lease: Lease,
    /// The gateway has accepted the refund; only the units have to be returned.
    pub is_refunded: bool,
    pub from_waitlist: bool,
}

/// What begins a payment.
#[derive(Clone, Debug)]
pub struct NewPayment<'a> {
    pub order_id: OrderId,
    /// The order must be of this user.
    pub user: &'a UserId,
    pub payment_method: &'a str,
    pub lease: Lease,
}

/// Whether the gateway may be called.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum BeginPayment {
    Begun(Box<PaymentAttempt>),
    /// The order has this status, which does not allow the call.
    WrongStatus(OrderStatus),
    /// `DECLINES_MAX` payments of this pending order were declined; it expires then.
    Exhausted(DateTime<Utc>),
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
            // Every statement that returns an attempt has written its lease.
            lease: row.payment_lease.unwrap_or_default(),
            is_refunded: row.payment_refunded_at.is_some(),
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
    /// gateway call. May be repeated with the same lease when its answer was lost.
    pub async fn begin_payment(
        &self,
        new: &NewPayment<'_>,
        now: DateTime<Utc>,
    ) -> Result<BeginPayment> {
        let update = Entity::update_many()
            .col_expr(Column::Status, Expr::value(Status::Confirming))
            .col_expr(Column::PaymentMethod, Expr::value(new.payment_method))
            .col_expr(
                Column::PaymentAttempt,
                Expr::col(Column::PaymentAttempt).add(1),
            )
            .col_expr(Column::PaymentBegunAt, Expr::value(now))
            .col_expr(Column::PaymentAskedAt, Expr::value(now))
            .col_expr(Column::PaymentLease, Expr::value(new.lease))
            .filter(COLUMN.id.eq(new.order_id))
            .filter(Column::UserId.eq(&**new.user))
            .filter(Expr::cust("status = 'pending'"))
            .filter(Column::PaymentDeclines.lt(DECLINES_MAX))
            .filter(Column::ExpiresAt.gt(now));
        self.begin_with(new.order_id, new.lease, now, update).await
    }

    /// Marks the payment of a confirmed order as refunding, and records who asked for it. May be
    /// repeated when its answer was lost.
    pub async fn begin_refund(
        &self,
        id: OrderId,
        lease: Lease,
        actor: &Arc<Actor>,
    ) -> Result<BeginPayment> {
        let now = self.now();
        let update = Entity::update_many()
            .col_expr(Column::PaymentStatus, Expr::value(PaymentStatus::Refunding))
            .col_expr(Column::PaymentBegunAt, Expr::value(now))
            .col_expr(Column::PaymentAskedAt, Expr::value(now))
            .col_expr(Column::PaymentLease, Expr::value(lease))
            .filter(COLUMN.id.eq(id))
            .filter(Expr::cust("status = 'confirmed'"))
            .filter(Column::PaymentId.is_not_null());
        let (_place, transaction) = self.payment_transaction().await?;
        self.in_payment_time(async {
            let Some(before) = Entity::find_by_id(id).one(&transaction.inner).await? else {
                return Ok(BeginPayment::NotFound);
            };
            let is_repeated = before.payment_lease == Some(lease);
            let before = Order::from(before);
            let rows = update.exec_with_returning(&transaction.inner).await?;
            let Some(row) = rows.into_iter().next() else {
                return Ok(BeginPayment::WrongStatus(before.status));
            };
            let attempt = Box::new(PaymentAttempt::new(row));
            if !is_repeated {
                let change = Change::between(order_state(&before), order_state(&attempt.order));
                let row = AuditRow::new(actor, AuditAction::RefundOrder, id, change, now);
                transaction.commit_audited(row).await?;
            }
            Ok(BeginPayment::Begun(attempt))
        })
        .await
    }

    /// Runs the update; when it matches no order, reports the status that prevented it, unless an
    /// earlier call with this lease has begun the attempt.
    async fn begin_with(
        &self,
        id: OrderId,
        lease: Lease,
        now: DateTime<Utc>,
        update: UpdateMany<Entity>,
    ) -> Result<BeginPayment> {
        let rows = self
            .bounded_payment(update.exec_with_returning(self.payments()))
            .await?;
        if let Some(row) = rows.into_iter().next() {
            return Ok(BeginPayment::Begun(Box::new(PaymentAttempt::new(row))));
        }
        let read = || Entity::find_by_id(id).one(&self.read);
        let Some(row) = self.bounded(read).await? else {
            return Ok(BeginPayment::NotFound);
        };
        if row.payment_lease == Some(lease) {
            return Ok(BeginPayment::Begun(Box::new(PaymentAttempt::new(row))));
        }
        let declines = row.payment_declines.unsigned_abs();
        let order = Order::from(row);
        Ok(match (status_now(&order, now), order.expires_at) {
            (OrderStatus::Pending, Some(end)) if declines >= DECLINES_MAX => {
                BeginPayment::Exhausted(end)
            }
            (status, _) => BeginPayment::WrongStatus(status),
        })
    }

    /// Writes the result of the attempt; `None` when the order has another status, or when another
    /// caller owns the attempt and no money has moved.
    pub async fn end_payment(
        &self,
        attempt: &PaymentAttempt,
        end: PaymentEnd,
        now: DateTime<Utc>,
    ) -> Result<Option<Order>> {
        let update = Entity::update_many()
            .col_expr(Column::PaymentMethod, Expr::cust("NULL"))
            .col_expr(Column::PaymentAskedAt, Expr::cust("NULL"))
            .col_expr(Column::PaymentLease, Expr::cust("NULL"))
            .col_expr(Column::PaymentClientSecret, Expr::cust("NULL"))
            .col_expr(Column::PaymentActionUntil, Expr::cust("NULL"))
            .filter(COLUMN.id.eq(attempt.order.id));
        let confirmed = |update: UpdateMany<Entity>| {
            update
                .col_expr(Column::Status, Expr::value(Status::Confirmed))
                .col_expr(Column::ConfirmedAt, Expr::value(now))
        };
        let owned = |update: UpdateMany<Entity>| {
            update
                .filter(Expr::cust("status = 'confirming'"))
                .filter(Column::PaymentLease.eq(attempt.lease))
        };
        let pending = |update| owned(update).col_expr(Column::Status, Expr::value(Status::Pending));
        let update = match end {
            // Also when another caller has taken the attempt over, or has ended it wrongly: a
            // pending order still has its units.
            PaymentEnd::Paid(payment) => confirmed(update)
                .col_expr(Column::PaymentId, Expr::value(payment.id))
                .col_expr(Column::PaymentStatus, Expr::value(PaymentStatus::Succeeded))
                .filter(Expr::cust("status IN ('pending', 'confirming')")),
            PaymentEnd::Free => owned(confirmed(update)),
            PaymentEnd::Declined(id) => {
                let status = id.as_ref().map(|_| PaymentStatus::Declined);
                pending(update)
                    .col_expr(
                        Column::PaymentDeclines,
                        Expr::col(Column::PaymentDeclines).add(1),
                    )
                    .col_expr(Column::PaymentId, Expr::value(id))
                    .col_expr(Column::PaymentStatus, Expr::value(status))
            }
            PaymentEnd::NotCharged => pending(update),
        };
        let rows = self
            .bounded_payment(update.exec_with_returning(self.payments()))
            .await?;
        Ok(rows.into_iter().next().map(Order::from))
    }
}

/// The order's status, also where its lane has not expired the hold yet.
fn status_now(order: &Order, now: DateTime<Utc>) -> OrderStatus {
    let expired = order.expires_at.is_some_and(|end| end <= now);
    match order.status {
        OrderStatus::Pending if expired => OrderStatus::Expired,
        status @ (OrderStatus::Pending
        | OrderStatus::Confirming
        | OrderStatus::Confirmed
        | OrderStatus::Cancelled
        | OrderStatus::Expired) => status,
    }
}
