//! SQL for `orders`: payments that wait until their buyer has authenticated them.
//!
//! Such an order is `confirming` and has a client secret. It has no `payment_begun_at`: that keeps
//! the recovery of open gateway calls away from it, also that of nodes of an older version.
//! `payment_asked_at` is when the gateway was last asked for the payment's state.

use chrono::{DateTime, TimeDelta, Utc};
use entities::orders::{COLUMN, Column, Entity, Model};
use sea_orm::{
    ColumnTrait, EntityTrait, ExprTrait, QueryFilter, QueryOrder, QuerySelect, QueryTrait,
    UpdateMany, sea_query::Expr,
};

use super::{
    super::{Result, Store},
    Lease, PaymentAttempt,
};
use crate::domain::{Order, OrderId, Secret};

/// Waiting payments that one call takes over: a node asks the gateway for as many a second.
const DUE_MAX: u64 = 32;
/// How long the gateway is not asked again: usually its webhook reports the end.
const ASK_EVERY: TimeDelta = TimeDelta::seconds(10);

/// What the buyer needs to authenticate a payment, and until when this is possible.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BuyerAction {
    /// The gateway's identifier of the payment.
    pub payment_id: String,
    pub client_secret: Secret,
    pub until: DateTime<Utc>,
}

/// A payment that waits for its buyer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WaitingPayment {
    pub attempt: PaymentAttempt,
    pub action: BuyerAction,
}

impl WaitingPayment {
    fn new(mut row: Model) -> Option<Self> {
        let action = BuyerAction {
            payment_id: row.payment_id.clone()?,
            client_secret: Secret::new(row.payment_client_secret.clone()?),
            until: row.payment_action_until.take()?,
        };
        let attempt = PaymentAttempt::new(row);
        Some(Self { attempt, action })
    }
}

impl Store {
    /// Writes that the buyer has to authenticate the payment; `None` when another caller owns the
    /// attempt. May be repeated.
    pub async fn await_buyer(
        &self,
        attempt: &PaymentAttempt,
        action: &BuyerAction,
        now: DateTime<Utc>,
    ) -> Result<Option<Order>> {
        let secret = action.client_secret.expose();
        let update = Entity::update_many()
            .col_expr(Column::PaymentId, Expr::value(&*action.payment_id))
            .col_expr(Column::PaymentStatus, Expr::cust("NULL"))
            .col_expr(Column::PaymentMethod, Expr::cust("NULL"))
            .col_expr(Column::PaymentClientSecret, Expr::value(secret))
            .col_expr(Column::PaymentActionUntil, Expr::value(action.until))
            .col_expr(Column::PaymentBegunAt, Expr::cust("NULL"))
            .col_expr(Column::PaymentAskedAt, Expr::value(now))
            .col_expr(Column::PaymentLease, Expr::cust("NULL"))
            .filter(COLUMN.id.eq(attempt.order.id))
            .filter(Expr::cust("status = 'confirming'"))
            .filter(
                Column::PaymentLease
                    .eq(attempt.lease)
                    .or(Column::PaymentClientSecret.eq(secret)),
            );
        let rows = self
            .bounded_payment(update.exec_with_returning(self.payments()))
            .await?;
        Ok(rows.into_iter().next().map(Order::from))
    }

    /// The payment of this order, if it waits for its buyer.
    pub async fn waiting_payment(&self, id: OrderId) -> Result<Option<WaitingPayment>> {
        let waiting = || {
            Entity::find_by_id(id)
                .filter(Expr::cust("status = 'confirming'"))
                .one(&self.read)
        };
        Ok(self.bounded(waiting).await?.and_then(WaitingPayment::new))
    }

    /// The order's last payment attempt, which this caller does not own.
    pub async fn last_attempt(&self, id: OrderId) -> Result<Option<PaymentAttempt>> {
        let read = || Entity::find_by_id(id).one(&self.read);
        Ok(self.bounded(read).await?.map(PaymentAttempt::new))
    }

    /// Takes over the waiting payment of an order, unless the gateway was asked since
    /// `asked_before`.
    pub async fn take_waiting_payment(
        &self,
        id: OrderId,
        asked_before: DateTime<Utc>,
        lease: Lease,
        now: DateTime<Utc>,
    ) -> Result<Option<WaitingPayment>> {
        let update = taken(lease, now)
            .filter(COLUMN.id.eq(id))
            .filter(Column::PaymentAskedAt.lte(asked_before));
        let rows = self
            .bounded_payment(update.exec_with_returning(self.payments()))
            .await?;
        Ok(rows.into_iter().next().and_then(WaitingPayment::new))
    }

    /// Takes over waiting payments about which the gateway has not been asked for a while, or whose
    /// time is over, longest unasked first.
    pub async fn take_due_waiting_payments(
        &self,
        lease: Lease,
        now: DateTime<Utc>,
    ) -> Result<Vec<WaitingPayment>> {
        let is_over = Column::PaymentActionUntil
            .lte(now)
            .and(Expr::col(Column::PaymentAskedAt).lt(Expr::col(Column::PaymentActionUntil)));
        let is_due = Column::PaymentAskedAt.lt(now - ASK_EVERY).or(is_over);
        let due = Entity::find()
            .select_only()
            .column(Column::Id)
            .filter(Column::PaymentAskedAt.is_not_null())
            .filter(Column::PaymentClientSecret.is_not_null())
            .filter(is_due.clone())
            .order_by_asc(Column::PaymentAskedAt)
            .limit(DUE_MAX)
            .into_query();
        let update = taken(lease, now)
            .filter(is_due)
            .filter(Column::Id.in_subquery(due));
        let rows = self
            .bounded_payment(update.exec_with_returning(self.payments()))
            .await?;
        Ok(rows.into_iter().filter_map(WaitingPayment::new).collect())
    }
}

/// The update that makes the caller the owner of waiting payments.
fn taken(lease: Lease, now: DateTime<Utc>) -> UpdateMany<Entity> {
    Entity::update_many()
        .col_expr(Column::PaymentAskedAt, Expr::value(now))
        .col_expr(Column::PaymentLease, Expr::value(lease))
        .filter(Expr::cust("status = 'confirming'"))
        .filter(Column::PaymentClientSecret.is_not_null())
}
