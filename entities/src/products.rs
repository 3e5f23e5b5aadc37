//! Entity of the table `products`.
//!
//! `version` is the fence: every change of stock or live orders bumps it.

use sea_orm::entity::prelude::*;

#[sea_orm::model]
#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "products")]
pub struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub id: Uuid,
    pub sku: String,
    pub name: String,
    pub description: Option<String>,
    pub price: i64,
    pub currency: String,
    pub stock_total: i32,
    pub stock: i32,
    pub version: i64,
    pub max_per_order: i32,
    pub max_per_user: Option<i32>,
    pub hold_seconds: Option<i32>,
    pub waitlist: bool,
    /// Whether waitlist entries that fit may pass one that does not.
    pub waitlist_skip: bool,
    /// Units of `stock` that were returned and are reserved for the waitlist.
    pub stock_reserved: i32,
    pub starts_at: Option<ChronoDateTimeUtc>,
    pub ends_at: Option<ChronoDateTimeUtc>,
    /// Whether anybody but admins sees the product.
    pub published: bool,
    pub archived_at: Option<ChronoDateTimeUtc>,
    pub created_at: ChronoDateTimeUtc,
    pub updated_at: ChronoDateTimeUtc,
}

impl ActiveModelBehavior for ActiveModel {}
