//! One row per order ever taken; rows are never deleted, their status changes.

use sea_orm::entity::prelude::*;

use crate::order_status::OrderStatus;

#[sea_orm::model]
#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "orders")]
pub struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub id: Uuid,
    pub reference: String,
    pub product_id: Uuid,
    pub user_id: String,
    pub quantity: i32,
    pub unit_price: i64,
    pub currency: String,
    pub status: OrderStatus,
    pub idempotency_key: Option<String>,
    /// What the key was first used for, to tell a retry from a reuse.
    pub idempotency_request: Option<String>,
    pub created_at: ChronoDateTimeUtc,
    pub expires_at: Option<ChronoDateTimeUtc>,
    pub confirmed_at: Option<ChronoDateTimeUtc>,
    /// The gateway's name for the payment, also for one that was declined.
    pub payment_id: Option<String>,
    pub payment_status: Option<String>,
    /// What the buyer pays with, as long as the gateway may have to be asked again.
    pub payment_method: Option<String>,
    /// How often the buyer has tried to pay.
    pub payment_attempt: i32,
    /// When the gateway was first asked about this attempt.
    pub payment_begun_at: Option<ChronoDateTimeUtc>,
    /// When the gateway was last asked, while its answer is still to come.
    pub payment_asked_at: Option<ChronoDateTimeUtc>,
    /// Whether it was offered to somebody who waited.
    pub from_waitlist: bool,
}

impl ActiveModelBehavior for ActiveModel {}
