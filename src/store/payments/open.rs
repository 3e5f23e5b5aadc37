//! SQL for `orders` and `stray_payments`: payments whose outcome is outstanding.

use chrono::{DateTime, TimeDelta, Utc};
use entities::{
    orders::{Column, Entity},
    stray_payments as strays,
};
use sea_orm::{ColumnTrait, EntityTrait, QueryFilter, QueryOrder, QuerySelect};

use super::{
    super::{Result, Store},
    recovery::KEYS_KEPT,
};
use crate::domain::OrderId;

/// A payment that takes longer is worth a look; nearly all take a second.
const SLOW: TimeDelta = TimeDelta::minutes(1);
/// Rows read; a longer list would add nothing but time.
const OPEN_MAX: u64 = 1_000;

type Row = (OrderId, DateTime<Utc>);

/// Why a payment is open.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum OpenState {
    /// The recovery repeats the gateway's call.
    Repeated,
    /// The gateway may have dropped its idempotency key: a person has to resolve it.
    Left,
    /// A stray payment whose refund the gateway has not accepted.
    Stray,
}

/// A payment or a refund that has been open for more than a minute.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OpenPayment {
    pub order_id: OrderId,
    pub since: DateTime<Utc>,
    pub state: OpenState,
}

impl Store {
    /// The payments that have been open for more than a minute, the oldest first; at most 1,000 of
    /// each kind.
    pub async fn open_payments(&self, now: DateTime<Utc>) -> Result<Vec<OpenPayment>> {
        let orders = Entity::find()
            .select_only()
            .column(Column::Id)
            .column(Column::PaymentBegunAt)
            .filter(Column::PaymentAskedAt.is_not_null())
            .filter(Column::PaymentBegunAt.lt(now - SLOW))
            .order_by_asc(Column::PaymentBegunAt)
            .limit(OPEN_MAX);
        // Their buyers' time is over, but the gateway has not cancelled them.
        let overdue = Entity::find()
            .select_only()
            .column(Column::Id)
            .column(Column::PaymentActionUntil)
            .filter(Column::PaymentAskedAt.is_not_null())
            .filter(Column::PaymentActionUntil.lt(now - SLOW))
            .order_by_asc(Column::PaymentActionUntil)
            .limit(OPEN_MAX);
        let strays = strays::Entity::find()
            .select_only()
            .column(strays::Column::OrderId)
            .column(strays::Column::FoundAt)
            .filter(strays::Column::RefundedAt.is_null())
            .filter(strays::Column::FoundAt.lt(now - SLOW))
            .order_by_asc(strays::Column::FoundAt)
            .limit(OPEN_MAX);
        // On PostgreSQL the readers may keep a plan that scans the table.
        let orders = orders.into_tuple::<Row>().all(self.payments());
        let orders = self.bounded_payment(orders).await?;
        let overdue = overdue.into_tuple::<Row>().all(self.payments());
        let overdue = self.bounded_payment(overdue).await?;
        let strays = strays.into_tuple::<Row>().all(self.payments());
        let strays = self.bounded_payment(strays).await?;
        let orders = orders.into_iter().map(|(order_id, since)| OpenPayment {
            order_id,
            since,
            state: if since > now - KEYS_KEPT {
                OpenState::Repeated
            } else {
                OpenState::Left
            },
        });
        let overdue = overdue.into_iter().map(|(order_id, since)| OpenPayment {
            order_id,
            since,
            state: OpenState::Repeated,
        });
        let strays = strays.into_iter().map(|(order_id, since)| OpenPayment {
            order_id,
            since,
            state: OpenState::Stray,
        });
        Ok(orders.chain(overdue).chain(strays).collect())
    }
}
