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
}

impl ActiveModelBehavior for ActiveModel {}
