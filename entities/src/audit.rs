//! Entity of the table `audit`. A trigger keeps its rows from being changed or removed.

use sea_orm::entity::prelude::*;

#[sea_orm::model]
#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "audit")]
pub struct Model {
    /// A version 7 UUID of the time `at`, so that ids are in the order of time.
    #[sea_orm(primary_key, auto_increment = false)]
    pub id: Uuid,
    pub at: ChronoDateTimeUtc,
    /// The `sub` of the caller's token, or the service's own name.
    pub actor: String,
    /// `admin`, `buyer` or `service`.
    pub actor_role: String,
    pub action: String,
    /// The id of the product or order.
    pub target: Uuid,
    /// JSON of what the action changed, before and after it.
    pub before: Option<String>,
    pub after: Option<String>,
    pub request_id: Option<String>,
}

impl ActiveModelBehavior for ActiveModel {}
