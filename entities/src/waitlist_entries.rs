//! Entity of the table `waitlist_entries`. `position` is a monotone sequence with gaps, never reused;
//! buyers see a position that is counted from it.

use sea_orm::entity::prelude::*;

use crate::waitlist_status::WaitlistStatus;

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
    pub status: WaitlistStatus,
    /// The order made for an offered entry.
    pub order_id: Option<Uuid>,
    pub idempotency_key: Option<String>,
    pub idempotency_request: Option<String>,
    pub created_at: ChronoDateTimeUtc,
}

impl ActiveModelBehavior for ActiveModel {}
