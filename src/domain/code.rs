//! The `code` of every refusal and error of the API, with its HTTP status.
//!
//! Problem documents, metric labels, the OpenAPI document and `contention` take the codes from
//! this enum. `docs/API.md` describes when each code is sent and how a client should react.

use serde::{Deserialize, Serialize};
use strum::{Display, EnumIter, EnumString, IntoEnumIterator, IntoStaticStr};
use utoipa::ToSchema;

/// A refusal or an error, named in snake case on the wire.
#[derive(
    Clone,
    Copy,
    Debug,
    Display,
    EnumIter,
    EnumString,
    Hash,
    IntoStaticStr,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Deserialize,
    Serialize,
    ToSchema,
)]
#[serde(rename_all = "snake_case")]
#[strum(serialize_all = "snake_case")]
pub enum Code {
    // Refusals of `POST /orders` in the order of the checks; `HighDemand` and the failures after it
    // can happen at any later step.
    PayloadTooLarge,
    /// The body did not arrive in time.
    RequestTimeout,
    UnsupportedMediaType,
    Unauthenticated,
    MalformedJson,
    InvalidRequest,
    RateLimited,
    ProductNotFound,
    NotOnSale,
    IdempotencyKeyReused,
    PurchaseLimit,
    SoldOut,
    InsufficientStock,
    HighDemand,
    /// `POST /orders`: nothing was written. Other writes may have been made.
    Unavailable,
    /// The order may or may not have been written.
    OutcomeUnknown,
    /// A bug; the log has its cause.
    Internal,
    // Refusals of the other calls.
    Forbidden,
    NotFound,
    MethodNotAllowed,
    OrderNotFound,
    OrderNotPending,
    NotWaiting,
    PaymentDeclined,
    PaymentsDisabled,
    SkuTaken,
    HasLiveOrders,
    /// Too many event streams are open.
    StreamLimit,
    /// Of a webhook.
    InvalidSignature,
}

impl Code {
    /// The code as it is sent and as metrics label it.
    pub fn name(self) -> &'static str {
        self.into()
    }

    /// The HTTP status of problem documents with this code.
    pub fn status(self) -> u16 {
        match self {
            // `HighDemand`: proxies and clients retry a 503 by themselves, which would add load.
            Self::MalformedJson | Self::HighDemand | Self::InvalidSignature => 400,
            Self::Unauthenticated => 401,
            Self::PaymentDeclined => 402,
            Self::Forbidden => 403,
            Self::NotFound | Self::ProductNotFound | Self::OrderNotFound | Self::NotWaiting => 404,
            Self::MethodNotAllowed => 405,
            Self::RequestTimeout => 408,
            Self::NotOnSale
            | Self::PurchaseLimit
            | Self::SoldOut
            | Self::InsufficientStock
            | Self::OrderNotPending
            | Self::PaymentsDisabled
            | Self::SkuTaken
            | Self::HasLiveOrders => 409,
            Self::PayloadTooLarge => 413,
            Self::UnsupportedMediaType => 415,
            Self::InvalidRequest | Self::IdempotencyKeyReused => 422,
            Self::RateLimited => 429,
            Self::Internal => 500,
            Self::Unavailable | Self::OutcomeUnknown | Self::StreamLimit => 503,
        }
    }

    /// Whether `POST /orders` can answer with this code.
    pub fn refuses_orders(self) -> bool {
        match self {
            Self::PayloadTooLarge
            | Self::UnsupportedMediaType
            | Self::Unauthenticated
            | Self::RequestTimeout
            | Self::MalformedJson
            | Self::InvalidRequest
            | Self::RateLimited
            | Self::ProductNotFound
            | Self::NotOnSale
            | Self::IdempotencyKeyReused
            | Self::PurchaseLimit
            | Self::SoldOut
            | Self::InsufficientStock
            | Self::HighDemand
            | Self::Unavailable
            | Self::OutcomeUnknown
            | Self::Internal => true,
            Self::Forbidden
            | Self::NotFound
            | Self::MethodNotAllowed
            | Self::OrderNotFound
            | Self::OrderNotPending
            | Self::NotWaiting
            | Self::PaymentDeclined
            | Self::PaymentsDisabled
            | Self::SkuTaken
            | Self::InvalidSignature
            | Self::HasLiveOrders
            | Self::StreamLimit => false,
        }
    }

    /// Whether its problems have the header `Retry-After`.
    pub fn has_retry_after(self) -> bool {
        matches!(
            self,
            Self::HighDemand
                | Self::RateLimited
                | Self::Unavailable
                | Self::OutcomeUnknown
                | Self::StreamLimit
        )
    }

    /// Every code.
    pub fn all() -> impl Iterator<Item = Self> {
        Self::iter()
    }
}
