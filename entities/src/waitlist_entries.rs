//! Who waits for which product; `position` is a monotone sequence, never reused.

use sea_orm::entity::prelude::*;

#[sea_orm::model]
#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "waitlist_entries")]
pub struct Model {
    #[sea_orm(primary_key)]
    pub position: i64,
    pub id: Uuid,
    pub product_id: Uuid,
    pub user_id: String,
    pub quantity: i32,
    /// `waiting`, `offered` or `left`.
    pub status: String,
    /// What was offered.
    pub order_id: Option<Uuid>,
    pub idempotency_key: Option<String>,
    pub idempotency_request: Option<String>,
    pub created_at: ChronoDateTimeUtc,
}

impl ActiveModelBehavior for ActiveModel {}
