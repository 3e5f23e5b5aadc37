//! An order, its status and payment, and the parsed order request.

use chrono::{DateTime, TimeDelta, Utc};
use rand::RngExt;
use serde::{Deserialize, Serialize};
use strum::{Display, EnumString};
use utoipa::ToSchema;

use super::{OrderId, ProductId, UserId};

/// `pending`, `confirming` and `confirmed` orders are live: they hold stock.
#[derive(
    Clone, Copy, Debug, Display, EnumString, PartialEq, Eq, Serialize, Deserialize, ToSchema,
)]
#[serde(rename_all = "lowercase")]
#[strum(serialize_all = "lowercase")]
pub enum OrderStatus {
    Pending,
    Confirming,
    Confirmed,
    Cancelled,
    Expired,
}

/// An order as its buyer sees it. `total` is `unit_price` × `quantity`, in minor units.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Order {
    #[schema(value_type = Uuid)]
    pub id: OrderId,
    /// `FS-` and 12 Crockford base32 characters; in orders of former versions 8.
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
    pub payment: Option<Box<Payment>>,
    /// Only of an order that an admin has confirmed with a payment made outside of the service.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub external_payment: Option<Box<ExternalPayment>>,
}

/// What a new order consists of.
#[derive(Clone, Debug)]
pub struct OrderTerms {
    pub id: OrderId,
    pub reference: String,
    pub product_id: ProductId,
    pub user_id: UserId,
    pub quantity: i32,
    pub unit_price: i64,
    pub currency: String,
    /// How long the order holds its units before payment; `None` confirms it at once.
    pub hold_seconds: Option<i32>,
    pub created_at: DateTime<Utc>,
}

impl Order {
    /// A new order: pending with a hold, else confirmed at once.
    pub fn new(terms: OrderTerms) -> Self {
        let created_at = terms.created_at;
        let hold = terms.hold_seconds;
        Self {
            id: terms.id,
            reference: terms.reference,
            product_id: terms.product_id,
            user_id: terms.user_id,
            quantity: terms.quantity,
            unit_price: terms.unit_price,
            total: terms.unit_price.saturating_mul(i64::from(terms.quantity)),
            currency: terms.currency,
            status: match hold {
                Some(_) => OrderStatus::Pending,
                None => OrderStatus::Confirmed,
            },
            created_at,
            expires_at: hold.map(|seconds| created_at + TimeDelta::seconds(seconds.into())),
            confirmed_at: hold.is_none().then_some(created_at),
            payment: None,
            external_payment: None,
        }
    }

    /// Names the money to refund outside, once an order that was paid there is cancelled.
    pub fn note_refund_due(&mut self) {
        let is_due = self.status == OrderStatus::Cancelled && self.total > 0;
        if let Some(external) = self.external_payment.as_mut().filter(|_| is_due) {
            external.refund_due = Some(Money {
                amount: self.total,
                currency: self.currency.clone(),
            });
        }
    }
}

/// The payment of an order at the gateway.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Payment {
    /// The gateway's identifier.
    pub id: String,
    pub status: PaymentStatus,
    /// What the buyer's browser needs to authenticate the payment. Only in the answer to the buyer's
    /// confirmation, while `status` is `requires_action`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client_secret: Option<String>,
}

impl Payment {
    pub fn new(id: String, status: PaymentStatus) -> Self {
        Self {
            id,
            status,
            client_secret: None,
        }
    }

    /// Whether the gateway has taken the money, also if it was refunded since.
    pub fn was_taken(&self) -> bool {
        match self.status {
            PaymentStatus::Succeeded | PaymentStatus::Refunding | PaymentStatus::Refunded => true,
            PaymentStatus::RequiresAction | PaymentStatus::Declined => false,
        }
    }
}

/// A payment that was made outside of the service.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ExternalPayment {
    /// Who was paid, such as `paypal` or `cash desk 2`.
    pub provider: String,
    /// The payment's name there.
    pub reference: String,
    /// What the shop has to refund there, because the order was cancelled; the service does not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub refund_due: Option<Money>,
}

/// An amount in minor units, with its ISO 4217 currency.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Money {
    pub amount: i64,
    pub currency: String,
}

/// The state of an order's last payment attempt, or of its refund.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum PaymentStatus {
    /// The buyer has to authenticate the payment; it has not moved money yet.
    RequiresAction,
    Succeeded,
    Declined,
    /// A refund is requested; its outcome is not known yet.
    Refunding,
    Refunded,
}

/// An `Idempotency-Key` and the request that it was first used for.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct IdempotencyKey {
    /// 1 to 255 visible ASCII characters.
    pub key: String,
    /// The request in one canonical line; another line under the same key is a reuse.
    pub request: String,
}

/// A parsed `POST /orders` request.
#[derive(Clone, Debug)]
pub struct OrderRequest {
    /// The id of the order, or of the waitlist entry, that the request makes. Generated before the
    /// first attempt, so that an unknown outcome can be looked up.
    pub order_id: OrderId,
    pub product_id: ProductId,
    pub user_id: UserId,
    pub quantity: i32,
    /// Whether to join the waitlist when the product is sold out.
    pub waitlist: bool,
    pub key: Option<IdempotencyKey>,
}

impl OrderRequest {
    /// Whether the product's row alone decides: the request has no key and joins no waitlist.
    pub fn is_plain(&self) -> bool {
        self.key.is_none() && !self.waitlist
    }
}

/// Characters of a reference, of 5 bits each.
const REFERENCE_CHARACTERS: u32 = 12;
/// The first 8 bits are a window of time, the other 52 are random: the database inserts references of
/// the same minute beside each other. All random, each order would change another page of an index
/// with many older orders, and each such page is read, written, and logged as a whole. The windows of
/// a sale of ten minutes have room for 10 million orders before two are equal with a probability of
/// 0.1 %; they come round every 4.5 hours, so that over the years references use all 60 bits.
const REFERENCE_WINDOW_SECONDS: i64 = 64;
const REFERENCE_WINDOWS: i64 = 256;
const REFERENCE_RANDOM_BITS: u32 = 52;

/// A new order reference that is safe to read aloud: `FS-` and 12 Crockford base32 characters.
pub fn reference() -> String {
    reference_at(super::now(), rand::rng().random())
}

fn reference_at(now: DateTime<Utc>, random: u64) -> String {
    const ALPHABET: [char; 32] = [
        '0', '1', '2', '3', '4', '5', '6', '7', '8', '9', 'A', 'B', 'C', 'D', 'E', 'F', 'G', 'H',
        'J', 'K', 'M', 'N', 'P', 'Q', 'R', 'S', 'T', 'V', 'W', 'X', 'Y', 'Z',
    ];
    let window = now.timestamp().div_euclid(REFERENCE_WINDOW_SECONDS);
    let window = u64::try_from(window.rem_euclid(REFERENCE_WINDOWS)).unwrap_or(0);
    let bits = (window << REFERENCE_RANDOM_BITS) | (random & ((1 << REFERENCE_RANDOM_BITS) - 1));
    let characters = (0..REFERENCE_CHARACTERS).rev().map(|place| {
        let index = usize::try_from((bits >> (5 * place)) & 31).unwrap_or(0);
        ALPHABET.get(index).copied().unwrap_or('0')
    });
    "FS-".chars().chain(characters).collect()
}

/// The references that a person may mean by `text`: as it is, and as Crockford's base32 is read, in any
/// case and grouping, with O for 0, I and L for 1, with or without `FS`.
pub fn references_like(text: &str) -> Vec<String> {
    let mut code: String = text
        .chars()
        .filter(|letter| !letter.is_whitespace() && *letter != '-')
        .map(|letter| match letter.to_ascii_uppercase() {
            'O' => '0',
            'I' | 'L' => '1',
            letter => letter,
        })
        .collect();
    if REFERENCE_LENGTHS.contains(&code.len().saturating_sub(2))
        && let Some(rest) = code.strip_prefix("FS")
    {
        code = rest.to_owned();
    }
    let mut references = vec![text.to_owned()];
    // No reference has such characters, and PostgreSQL cannot compare a NUL.
    references.retain(|text| !text.chars().any(char::is_control));
    if code.chars().all(|letter| letter.is_ascii_alphanumeric())
        && REFERENCE_LENGTHS.contains(&code.len())
    {
        references.push(format!("FS-{code}"));
    }
    references
}

/// The characters of a reference: 8 in orders of earlier releases.
const REFERENCE_LENGTHS: [usize; 2] = [8, 12];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reference_has_no_ambiguous_characters() {
        for _ in 0..1_000 {
            let text = reference();
            let code = text.strip_prefix("FS-").unwrap();
            assert_eq!(code.len(), 12);
            assert!(code.chars().all(|c| c.is_ascii_digit()
                || (c.is_ascii_uppercase() && !matches!(c, 'I' | 'L' | 'O' | 'U'))));
        }
    }

    /// An index keeps texts with the same beginning beside each other.
    #[test]
    fn references_of_the_same_minute_begin_alike_and_differ_in_the_rest() {
        let at = |seconds: i64| DateTime::from_timestamp(seconds, 0).unwrap();
        let window = |seconds: i64, random: u64| {
            let text = reference_at(at(seconds), random);
            text.strip_prefix("FS-").unwrap()[..2].to_owned()
        };
        assert_eq!(reference_at(at(0), 0), "FS-000000000000");
        assert_eq!(reference_at(at(16_383), u64::MAX), "FS-ZZZZZZZZZZZZ");
        let second = |random| window(1_800_000_000, random).chars().nth(1).unwrap();
        for bit in 0..64 {
            let (plain, changed) = (reference_at(at(64), 0), reference_at(at(64), 1 << bit));
            assert_eq!(plain != changed, bit < 52, "{bit}: {changed}");
            assert_eq!(plain[..4], changed[..4], "{bit}: {changed}");
        }
        // Two bits of the second character are random.
        let seconds = [0, 1 << 50, 2 << 50, 3 << 50].map(second);
        assert_eq!(
            seconds
                .iter()
                .collect::<std::collections::BTreeSet<_>>()
                .len(),
            4
        );
        assert_ne!(window(0, 0), window(64, 0));
        assert_eq!(window(0, 0), window(64 * 256, 0), "they come round");
    }

    #[test]
    fn a_reference_is_found_as_people_write_it() {
        let eight = "FS-0123ABCD".to_owned();
        for text in ["FS-0123ABCD", "fs 0123 abcd", "o123-abcd", "FS-OL23ABCD"] {
            let found = references_like(text);
            assert!(found.contains(&eight), "{text}: {found:?}");
        }
        let twelve = "FS-0123456789AB".to_owned();
        assert!(references_like("fs-0123-4567-89ab").contains(&twelve));
        assert_eq!(references_like("old-1"), ["old-1"]);
    }
}
