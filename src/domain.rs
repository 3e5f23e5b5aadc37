//! The words that every stage shares: products, orders, requests, outcomes.
//!
//! Values are parsed at the edge into these types and never validated again.

use std::{sync::Arc, time::Duration};

use chrono::{DateTime, SubsecRound, Utc};
use rand::RngExt;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use uuid::Uuid;

mod outcome;
mod secret;
mod waiting;

pub use self::{
    outcome::Outcome,
    secret::Secret,
    waiting::{WaitingStatus, WaitlistEntry},
};

pub type ProductId = Uuid;
pub type OrderId = Uuid;
/// The `sub` of the token, 1 to 255 characters.
pub type UserId = Arc<str>;

/// The largest number of units of a product that was ever offered.
pub const STOCK_MAX: i32 = 1_000_000_000;
/// The largest `max_per_order`; with [`PRICE_MAX`] it keeps every total inside an `i64`.
pub const QUANTITY_MAX: i32 = 1_000_000;
/// The largest price, in minor units.
pub const PRICE_MAX: i64 = 1_000_000_000_000;

/// The one source of time, cut to the microseconds that PostgreSQL keeps, so that an order
/// reads back exactly as it was answered.
#[expect(
    clippy::disallowed_methods,
    reason = "everywhere else time is an argument"
)]
pub fn now() -> DateTime<Utc> {
    Utc::now().trunc_subsecs(6)
}

/// A drop as the shop sees it. Money is in minor units of `currency`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Product {
    #[schema(value_type = Uuid)]
    pub id: ProductId,
    pub sku: String,
    pub name: String,
    pub description: Option<String>,
    pub price: i64,
    pub currency: String,
    /// Every unit ever offered; a restock adds to it.
    pub stock_total: i32,
    /// Units that nobody holds.
    pub stock: i32,
    /// Counts the changes of this row; the fence of every write.
    pub version: i64,
    pub max_per_order: i32,
    pub max_per_user: Option<i32>,
    /// How long an order holds its units before payment; none sells at once.
    pub hold_seconds: Option<i32>,
    pub waitlist: bool,
    /// Whether waiting entries that fit may pass one that does not.
    pub waitlist_skip: bool,
    /// Units of `stock` that came back and are kept for those who wait.
    pub stock_reserved: i32,
    pub starts_at: Option<DateTime<Utc>>,
    pub ends_at: Option<DateTime<Utc>>,
    pub created_at: DateTime<Utc>,
    pub updated_at: DateTime<Utc>,
}

impl Product {
    /// Units that a new order may take.
    pub fn for_sale(&self) -> i32 {
        self.stock - self.stock_reserved
    }

    /// Whether `now` lies in `[starts_at, ends_at)`.
    pub fn on_sale(&self, now: DateTime<Utc>) -> bool {
        self.starts_at.is_none_or(|start| start <= now) && self.ends_at.is_none_or(|end| now < end)
    }
}

/// `pending`, `confirming` and `confirmed` orders hold stock.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum OrderStatus {
    Pending,
    Confirming,
    Confirmed,
    Cancelled,
    Expired,
}

/// The text is none of the statuses.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("no such status")]
pub struct UnknownStatus;

impl OrderStatus {
    /// As the API and the database spell it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Confirming => "confirming",
            Self::Confirmed => "confirmed",
            Self::Cancelled => "cancelled",
            Self::Expired => "expired",
        }
    }
}

impl std::str::FromStr for OrderStatus {
    type Err = UnknownStatus;

    fn from_str(text: &str) -> Result<Self, UnknownStatus> {
        match text {
            "pending" => Ok(Self::Pending),
            "confirming" => Ok(Self::Confirming),
            "confirmed" => Ok(Self::Confirmed),
            "cancelled" => Ok(Self::Cancelled),
            "expired" => Ok(Self::Expired),
            _ => Err(UnknownStatus),
        }
    }
}

/// An order as its buyer sees it. `total` is `unit_price` × `quantity`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Order {
    #[schema(value_type = Uuid)]
    pub id: OrderId,
    /// `FS-` and 8 Crockford base32 characters.
    pub reference: String,
    #[schema(value_type = Uuid)]
    pub product_id: ProductId,
    #[schema(value_type = String)]
    pub user_id: UserId,
    pub quantity: i32,
    pub unit_price: i64,
    pub total: i64,
    pub currency: String,
    pub status: OrderStatus,
    pub created_at: DateTime<Utc>,
    pub expires_at: Option<DateTime<Utc>>,
    pub confirmed_at: Option<DateTime<Utc>>,
    pub payment: Option<Payment>,
}

/// What the gateway said of an order's payment.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Payment {
    pub id: String,
    pub status: String,
}

/// The caller's own name for a request, with what it was first used for.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct IdempotencyKey {
    /// 1 to 255 visible ASCII characters.
    pub key: String,
    /// The request in one canonical line; another line under the same key is a reuse.
    pub request: String,
}

/// A buyer's wish, parsed and admitted.
#[derive(Clone, Debug)]
pub struct OrderRequest {
    /// Made before anything is tried, so that an unknown outcome can be looked up.
    pub order_id: OrderId,
    pub product_id: ProductId,
    pub user_id: UserId,
    pub quantity: i32,
    pub waitlist: bool,
    pub key: Option<IdempotencyKey>,
}

impl OrderRequest {
    /// Whether only the product decides: no key may stand for an order, no place is wanted.
    pub fn is_plain(&self) -> bool {
        self.key.is_none() && !self.waitlist
    }
}

/// A short name of an order that is safe to read aloud: `FS-` and 8 Crockford base32 characters.
pub fn reference() -> String {
    const ALPHABET: [char; 32] = [
        '0', '1', '2', '3', '4', '5', '6', '7', '8', '9', 'A', 'B', 'C', 'D', 'E', 'F', 'G', 'H',
        'J', 'K', 'M', 'N', 'P', 'Q', 'R', 'S', 'T', 'V', 'W', 'X', 'Y', 'Z',
    ];
    let mut bits: u64 = rand::rng().random();
    let mut text = String::with_capacity(11);
    text.push_str("FS-");
    for character in std::iter::repeat_with(|| {
        let index = usize::try_from(bits & 31).unwrap_or(0);
        bits >>= 5;
        ALPHABET.get(index).copied().unwrap_or('0')
    })
    .take(8)
    {
        text.push(character);
    }
    text
}

/// A random wait between half of `around` and one and a half of it.
pub fn jitter(around: Duration) -> Duration {
    around.mul_f64(rand::rng().random_range(0.5..1.5))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reference_reads_aloud() {
        for _ in 0..1_000 {
            let text = reference();
            let code = text.strip_prefix("FS-").unwrap();
            assert_eq!(code.len(), 8);
            assert!(code.chars().all(|c| c.is_ascii_digit()
                || (c.is_ascii_uppercase() && !matches!(c, 'I' | 'L' | 'O' | 'U'))));
        }
    }
}
