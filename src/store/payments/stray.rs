//! SQL for the table `stray_payments`: money that has to be refunded, because its order ended
//! without it.

use chrono::{DateTime, Utc};
use entities::stray_payments::{ActiveModel, Column, Entity, Model};
use sea_orm::{
    ColumnTrait, EntityTrait, QueryFilter, QuerySelect, QueryTrait, Set,
    sea_query::{Expr, OnConflict},
};
use serde_json::json;

use super::{
    super::{Result, Store},
    Lease,
};
use crate::domain::{Actor, AuditAction, AuditRow, Change, OrderId};

/// A payment of an order that cannot be confirmed any more, until it is refunded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StrayPayment {
    /// The gateway's identifier.
    pub payment_id: String,
    pub order_id: OrderId,
    pub lease: Lease,
}

impl From<Model> for StrayPayment {
    fn from(row: Model) -> Self {
        Self {
            payment_id: row.payment_id,
            order_id: row.order_id,
            lease: row.lease.unwrap_or_default(),
        }
    }
}

impl Store {
    /// Records a stray payment, whose refund is due at `due`; false when it is recorded already.
    pub async fn keep_stray_payment(
        &self,
        stray: &StrayPayment,
        now: DateTime<Utc>,
        due: DateTime<Utc>,
    ) -> Result<bool> {
        let row = ActiveModel {
            payment_id: Set(stray.payment_id.clone()),
            order_id: Set(stray.order_id),
            found_at: Set(now),
            due_at: Set(due),
            lease: Set(Some(stray.lease)),
            refunded_at: Set(None),
        };
        let known = OnConflict::column(Column::PaymentId)
            .do_nothing()
            .to_owned();
        let insert = Entity::insert(row).on_conflict(known);
        let change = Change::new(json!({ "stray_payment": stray.payment_id }));
        let action = AuditAction::RefundOrder;
        let row = AuditRow::new(&Actor::service(), action, stray.order_id, change, now);
        let (_place, transaction) = self.payment_transaction().await?;
        self.in_payment_time(async {
            let inserted = insert.exec_without_returning(&transaction.inner).await?;
            if inserted > 0 {
                transaction.commit_audited(row).await?;
            }
            Ok(inserted > 0)
        })
        .await
    }

    /// Takes over up to `limit` stray payments whose refund is due; the next request is due at
    /// `next`.
    pub async fn take_over_stray_payments(
        &self,
        lease: Lease,
        now: DateTime<Utc>,
        next: DateTime<Utc>,
        limit: usize,
    ) -> Result<Vec<StrayPayment>> {
        let due = Entity::find()
            .select_only()
            .column(Column::PaymentId)
            .filter(Column::RefundedAt.is_null())
            .filter(Column::DueAt.lte(now))
            .limit(u64::try_from(limit).unwrap_or(u64::MAX))
            .into_query();
        let update = Entity::update_many()
            .col_expr(Column::DueAt, Expr::value(next))
            .col_expr(Column::Lease, Expr::value(lease))
            .filter(Column::DueAt.lte(now))
            .filter(Column::PaymentId.in_subquery(due));
        let rows = self
            .bounded_payment(update.exec_with_returning(self.payments()))
            .await?;
        Ok(rows.into_iter().map(StrayPayment::from).collect())
    }

    /// Records that the gateway has accepted the refund.
    pub async fn end_stray_payment(&self, payment_id: &str, now: DateTime<Utc>) -> Result<()> {
        let update = Entity::update_many()
            .col_expr(Column::RefundedAt, Expr::value(now))
            .col_expr(Column::Lease, Expr::cust("NULL"))
            .filter(Column::PaymentId.eq(payment_id))
            .filter(Column::RefundedAt.is_null());
        self.bounded_payment(update.exec(self.payments())).await?;
        Ok(())
    }

    /// Requests the refund again at `due`, if this caller still owns it.
    pub async fn postpone_stray_payment(
        &self,
        stray: &StrayPayment,
        due: DateTime<Utc>,
    ) -> Result<()> {
        let update = Entity::update_many()
            .col_expr(Column::DueAt, Expr::value(due))
            .filter(Column::PaymentId.eq(&*stray.payment_id))
            .filter(Column::Lease.eq(stray.lease))
            .filter(Column::RefundedAt.is_null());
        self.bounded_payment(update.exec(self.payments())).await?;
        Ok(())
    }
}
