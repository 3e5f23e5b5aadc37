//! The product as the API sends it: the stock level as flat fields.

use chrono::{DateTime, Utc};
use serde::Serialize;
use utoipa::ToSchema;
use uuid::Uuid;

use crate::domain::Product;

/// A product. Money is in minor units of `currency`.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Product)]
pub(in crate::api) struct ProductDocument {
    id: Uuid,
    sku: String,
    name: String,
    description: Option<String>,
    price: i64,
    currency: String,
    /// Every unit offered and not withdrawn; a restock changes it.
    stock_total: i32,
    /// Units that no live order holds, `stock_reserved` included.
    stock: i32,
    /// Counts the changes of the product.
    version: i64,
    max_per_order: i32,
    max_per_user: Option<i32>,
    /// How long an order holds its units before payment; null confirms orders at once.
    hold_seconds: Option<i32>,
    waitlist: bool,
    /// Whether a waitlist entry that fits may be served before an earlier one that does not.
    waitlist_skip: bool,
    /// Units of `stock` that were returned and are reserved for the waitlist.
    stock_reserved: i32,
    starts_at: Option<DateTime<Utc>>,
    ends_at: Option<DateTime<Utc>>,
    /// Whether anybody but admins sees the product.
    published: bool,
    /// Only in answers to admins: the product is never sold again.
    archived_at: Option<DateTime<Utc>>,
    created_at: DateTime<Utc>,
    updated_at: DateTime<Utc>,
}

impl From<Product> for ProductDocument {
    fn from(product: Product) -> Self {
        Self {
            id: product.id,
            sku: product.sku,
            name: product.name,
            description: product.description,
            price: product.price,
            currency: product.currency,
            stock_total: product.stock.total,
            stock: product.stock.on_hand,
            version: product.version,
            max_per_order: product.max_per_order,
            max_per_user: product.max_per_user,
            hold_seconds: product.hold_seconds,
            waitlist: product.waitlist,
            waitlist_skip: product.waitlist_skip,
            stock_reserved: product.stock.reserved,
            starts_at: product.starts_at,
            ends_at: product.ends_at,
            published: product.published,
            archived_at: product.archived_at,
            created_at: product.created_at,
            updated_at: product.updated_at,
        }
    }
}
