//! A product: its sale terms, its stock level and the version that fences every write.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use super::{ProductId, StockLevel};

/// A product as the store holds it. `price` is in minor units of `currency` (ISO 4217).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Product {
    pub id: ProductId,
    pub sku: String,
    pub name: String,
    pub description: Option<String>,
    pub price: i64,
    pub currency: String,
    pub stock: StockLevel,
    /// Counts the changes of this row; the fence of every write.
    pub version: i64,
    pub max_per_order: i32,
    pub max_per_user: Option<i32>,
    /// How long an order holds its units before payment; `None` confirms orders at once.
    pub hold_seconds: Option<i32>,
    pub waitlist: bool,
    /// Whether a waitlist entry that fits may be served before an earlier one that does not.
    pub waitlist_skip: bool,
    pub starts_at: Option<DateTime<Utc>>,
    pub ends_at: Option<DateTime<Utc>>,
    /// Whether anybody but admins sees the product. Cached products from before have no such
    /// field, and are read again.
    pub published: bool,
    /// An archived product is never sold again.
    pub archived_at: Option<DateTime<Utc>>,
    pub created_at: DateTime<Utc>,
    pub updated_at: DateTime<Utc>,
}

impl Product {
    /// Units that a new order may take.
    pub fn for_sale(&self) -> i32 {
        self.stock.for_sale()
    }

    /// Whether the product exists for anybody but admins; otherwise it is sold to nobody.
    pub fn is_public(&self) -> bool {
        self.published && self.archived_at.is_none()
    }

    /// Whether `now` lies in `[starts_at, ends_at)`.
    pub fn on_sale(&self, now: DateTime<Utc>) -> bool {
        self.starts_at.is_none_or(|start| start <= now) && self.ends_at.is_none_or(|end| now < end)
    }
}
