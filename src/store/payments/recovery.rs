//! SQL for `orders`: takes over open payments, and ends refunds.

use chrono::{DateTime, TimeDelta, Utc};
use entities::{
    orders::{COLUMN, Column, Entity},
    payment_status::PaymentStatus,
};
use sea_orm::{
    ColumnTrait, EntityTrait, ExprTrait, QueryFilter, QuerySelect, QueryTrait, sea_query::Expr,
};

use super::{
    super::{Result, Store},
    Lease, PaymentAttempt,
};

/// Gateways keep idempotency keys for a day (<https://docs.stripe.com/api/idempotent_requests>).
pub(super) const KEYS_KEPT: TimeDelta = TimeDelta::hours(23);

impl Store {
    /// Takes over up to `limit` payments and refunds whose last gateway call was before `before`: who called it
    /// then can no longer end them. Other nodes that search now do not find them. Attempts older
    /// than `KEYS_KEPT` are left to operators: the gateway may have dropped their idempotency keys,
    /// so a repeated call might charge again.
    pub async fn take_over_stale_payments(
        &self,
        before: DateTime<Utc>,
        lease: Lease,
        now: DateTime<Utc>,
        limit: usize,
    ) -> Result<Vec<PaymentAttempt>> {
        let stale = Entity::find()
            .select_only()
            .column(Column::Id)
            .filter(Column::PaymentAskedAt.lt(before))
            .filter(Column::PaymentBegunAt.gt(now - KEYS_KEPT))
            .limit(u64::try_from(limit).unwrap_or(u64::MAX))
            .into_query();
        let update = Entity::update_many()
            .col_expr(Column::PaymentAskedAt, Expr::value(now))
            .col_expr(Column::PaymentLease, Expr::value(lease))
            .filter(Column::PaymentAskedAt.lt(before))
            .filter(Column::Id.in_subquery(stale));
        let rows = self
            .bounded_payment(update.exec_with_returning(self.payments()))
            .await?;
        Ok(rows.into_iter().map(PaymentAttempt::new).collect())
    }

    /// Records that the gateway has accepted the refund, so that it is never asked again and the
    /// units may return. Takes the lease from any other owner, because the money has moved.
    pub async fn record_refund(&self, attempt: &PaymentAttempt, now: DateTime<Utc>) -> Result<()> {
        let update = Entity::update_many()
            .col_expr(Column::PaymentStatus, Expr::value(PaymentStatus::Refunding))
            .col_expr(Column::PaymentRefundedAt, Expr::value(now))
            .col_expr(Column::PaymentAskedAt, Expr::value(now))
            .col_expr(Column::PaymentLease, Expr::value(attempt.lease))
            .filter(COLUMN.id.eq(attempt.order.id))
            .filter(Expr::cust("status = 'confirmed'"))
            .filter(Column::PaymentId.eq(attempt.payment_id()));
        self.bounded_payment(update.exec(self.payments())).await?;
        Ok(())
    }

    /// Resets a refund that certainly moved no money, so that the next one is another attempt; false when another caller owns it by now.
    pub async fn abandon_refund(&self, attempt: &PaymentAttempt) -> Result<bool> {
        let update = Entity::update_many()
            .col_expr(Column::PaymentStatus, Expr::value(PaymentStatus::Succeeded))
            .col_expr(
                Column::PaymentAttempt,
                Expr::col(Column::PaymentAttempt).add(1),
            )
            .col_expr(Column::PaymentAskedAt, Expr::cust("NULL"))
            .col_expr(Column::PaymentLease, Expr::cust("NULL"))
            .filter(COLUMN.id.eq(attempt.order.id))
            .filter(Expr::cust("status = 'confirmed'"))
            .filter(Column::PaymentStatus.eq(PaymentStatus::Refunding))
            .filter(Column::PaymentLease.eq(attempt.lease))
            .filter(Column::PaymentRefundedAt.is_null());
        let abandoned = self.bounded_payment(update.exec(self.payments())).await?;
        Ok(abandoned.rows_affected > 0)
    }
}
