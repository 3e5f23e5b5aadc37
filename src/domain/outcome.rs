//! What became of an order request.

use chrono::{DateTime, Utc};

use super::{Order, WaitlistEntry};

/// What became of an order request: every variant is a decision.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    Created(Order),
    Replayed(Order),
    /// A place on the waitlist: a new one, or the one that the user has.
    Waitlisted(WaitlistEntry),
    WaitReplayed(WaitlistEntry),
    ProductNotFound,
    QuantityOverLimit {
        max_per_order: i32,
    },
    NotOnSale {
        starts_at: Option<DateTime<Utc>>,
        ends_at: Option<DateTime<Utc>>,
    },
    KeyReused,
    PurchaseLimit {
        limit: i32,
        held: i64,
    },
    SoldOut {
        waitlist: bool,
    },
    InsufficientStock {
        available: i32,
    },
}

impl Outcome {
    /// The label of the outcome in metrics: `created`, `replayed`, or the refusal's code.
    pub fn label(&self) -> &'static str {
        match self {
            Self::Created(_) => "created",
            Self::Replayed(_) | Self::WaitReplayed(_) => "replayed",
            Self::Waitlisted(_) => "waitlisted",
            Self::ProductNotFound => "product_not_found",
            Self::QuantityOverLimit { .. } => "invalid_request",
            Self::NotOnSale { .. } => "not_on_sale",
            Self::KeyReused => "idempotency_key_reused",
            Self::PurchaseLimit { .. } => "purchase_limit",
            Self::SoldOut { .. } => "sold_out",
            Self::InsufficientStock { .. } => "insufficient_stock",
        }
    }
}
