//! The outcome of an order request: created, replayed, waitlisted, or refused with a reason.

use chrono::{DateTime, Utc};

use super::{Code, Order, WaitlistEntry};

/// The outcome of an order request. Every variant is a decision; failures are `Err` values.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    Created(Order),
    /// The order that the same `Idempotency-Key` made before.
    Replayed(Order),
    /// A place on the waitlist: a new one, or the one that the user has.
    Waitlisted(WaitlistEntry),
    /// The place that the same `Idempotency-Key` made before.
    WaitReplayed(WaitlistEntry),
    Refused(Refusal),
}

/// Why an order request got neither an order nor a place, with the extras of its problem document.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refusal {
    ProductNotFound,
    QuantityOverLimit {
        max_per_order: i32,
    },
    NotOnSale {
        starts_at: Option<DateTime<Utc>>,
        ends_at: Option<DateTime<Utc>>,
    },
    IdempotencyKeyReused,
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

impl Refusal {
    /// The code of the problem document, which is also the label in metrics.
    pub fn code(&self) -> Code {
        match self {
            Self::ProductNotFound => Code::ProductNotFound,
            Self::QuantityOverLimit { .. } => Code::InvalidRequest,
            Self::NotOnSale { .. } => Code::NotOnSale,
            Self::IdempotencyKeyReused => Code::IdempotencyKeyReused,
            Self::PurchaseLimit { .. } => Code::PurchaseLimit,
            Self::SoldOut { .. } => Code::SoldOut,
            Self::InsufficientStock { .. } => Code::InsufficientStock,
        }
    }
}

impl Outcome {
    /// The outcome as the order metrics label it.
    pub fn label(&self) -> OutcomeLabel {
        match self {
            Self::Created(_) => OutcomeLabel::Created,
            Self::Replayed(_) | Self::WaitReplayed(_) => OutcomeLabel::Replayed,
            Self::Waitlisted(_) => OutcomeLabel::Waitlisted,
            Self::Refused(refusal) => OutcomeLabel::Refused(refusal.code()),
        }
    }
}

impl From<Refusal> for Outcome {
    fn from(refusal: Refusal) -> Self {
        Self::Refused(refusal)
    }
}

/// The `outcome` label of the order metrics: a success, or the code of a refusal or failure.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum OutcomeLabel {
    Created,
    Replayed,
    Waitlisted,
    Refused(Code),
}

impl OutcomeLabel {
    pub fn name(self) -> &'static str {
        match self {
            Self::Created => "created",
            Self::Replayed => "replayed",
            Self::Waitlisted => "waitlisted",
            Self::Refused(code) => code.name(),
        }
    }

    /// Every label that an order request can have.
    pub fn all() -> impl Iterator<Item = Self> {
        let codes = Code::all().filter(|code| code.refuses_orders());
        [Self::Created, Self::Replayed, Self::Waitlisted]
            .into_iter()
            .chain(codes.map(Self::Refused))
    }

    /// Those by which a drop is watched: sales, demand and failures. What is wrong with single
    /// requests is rare, and not counted before it happens.
    pub fn watched() -> impl Iterator<Item = Self> {
        let refusals = [
            Code::SoldOut,
            Code::HighDemand,
            Code::Unavailable,
            Code::OutcomeUnknown,
            Code::Internal,
        ];
        [Self::Created, Self::Replayed, Self::Waitlisted]
            .into_iter()
            .chain(refusals.map(Self::Refused))
    }
}

impl From<Code> for OutcomeLabel {
    fn from(code: Code) -> Self {
        Self::Refused(code)
    }
}
