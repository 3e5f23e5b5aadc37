//! Every error as `application/problem+json` (RFC 9457); the only mapping to status codes.

use std::time::Duration;

use axum::{
    Json,
    http::{HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use serde::Serialize;
use utoipa::ToSchema;

use crate::{
    admission::RateLimited,
    domain::{OrderId, OrderStatus, Outcome},
};

mod document;
mod failure;
mod refusal;
mod text;

use self::document::title;
pub(super) use self::document::{Extras, ProblemDocument};

/// A field of the request that cannot be taken, and why.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub struct FieldError {
    pub field: String,
    pub message: String,
}

impl FieldError {
    pub fn new(field: impl Into<String>, message: impl Into<String>) -> Self {
        Self {
            field: field.into(),
            message: message.into(),
        }
    }
}

/// Why a request got no success.
#[derive(Debug)]
pub enum Problem {
    PayloadTooLarge {
        limit: usize,
    },
    UnsupportedMediaType,
    Unauthenticated {
        detail: &'static str,
    },
    Forbidden,
    MalformedJson {
        detail: String,
    },
    InvalidRequest {
        errors: Vec<FieldError>,
    },
    RateLimited(RateLimited),
    NotFound,
    MethodNotAllowed,
    ProductNotFound,
    OrderNotFound,
    /// The order is not what it must be for this.
    OrderNotPending {
        order_status: OrderStatus,
    },
    NotWaiting,
    PaymentDeclined {
        reason: String,
    },
    /// `PAYMENTS` is `none`.
    PaymentsDisabled,
    SkuTaken,
    /// An outcome of an order that is not a success.
    Refused(Box<Outcome>),
    HighDemand,
    /// Nothing was written.
    Unavailable,
    /// No answer from the database; a change may or may not have been made.
    NotInTime,
    /// The body came too slowly.
    SlowBody,
    OutcomeUnknown {
        order_id: OrderId,
    },
    /// A bug: told to the log, not to the caller.
    Internal {
        cause: String,
    },
}

/// The cause of a 500, for the layer that logs it with the request's id.
#[derive(Clone, Debug)]
pub(super) struct Cause(pub String);

const HIGH_DEMAND_RETRY: Duration = Duration::from_secs(1);
const UNAVAILABLE_RETRY: Duration = Duration::from_secs(2);

impl Problem {
    pub fn invalid(field: impl Into<String>, message: impl Into<String>) -> Self {
        Self::InvalidRequest {
            errors: vec![FieldError::new(field, message)],
        }
    }

    /// The word that callers branch on.
    pub fn code(&self) -> &'static str {
        match self {
            Self::PayloadTooLarge { .. } => "payload_too_large",
            Self::UnsupportedMediaType => "unsupported_media_type",
            Self::Unauthenticated { .. } => "unauthenticated",
            Self::Forbidden => "forbidden",
            Self::MalformedJson { .. } => "malformed_json",
            Self::InvalidRequest { .. } => "invalid_request",
            Self::RateLimited(_) => "rate_limited",
            Self::NotFound => "not_found",
            Self::MethodNotAllowed => "method_not_allowed",
            Self::ProductNotFound => "product_not_found",
            Self::OrderNotFound => "order_not_found",
            Self::OrderNotPending { .. } => "order_not_pending",
            Self::NotWaiting => "not_waiting",
            Self::PaymentDeclined { .. } => "payment_declined",
            Self::PaymentsDisabled => "payments_disabled",
            Self::SkuTaken => "sku_taken",
            Self::Refused(outcome) => outcome.label(),
            Self::HighDemand => "high_demand",
            Self::Unavailable | Self::NotInTime => "unavailable",
            Self::SlowBody => "request_timeout",
            Self::OutcomeUnknown { .. } => "outcome_unknown",
            Self::Internal { .. } => "internal",
        }
    }

    fn status(&self) -> StatusCode {
        match self {
            Self::PayloadTooLarge { .. } => StatusCode::PAYLOAD_TOO_LARGE,
            Self::UnsupportedMediaType => StatusCode::UNSUPPORTED_MEDIA_TYPE,
            Self::Unauthenticated { .. } => StatusCode::UNAUTHORIZED,
            Self::Forbidden => StatusCode::FORBIDDEN,
            Self::MalformedJson { .. } | Self::HighDemand => StatusCode::BAD_REQUEST,
            Self::InvalidRequest { .. } => StatusCode::UNPROCESSABLE_ENTITY,
            Self::RateLimited(_) => StatusCode::TOO_MANY_REQUESTS,
            Self::NotFound | Self::ProductNotFound | Self::OrderNotFound | Self::NotWaiting => {
                StatusCode::NOT_FOUND
            }
            Self::PaymentDeclined { .. } => StatusCode::PAYMENT_REQUIRED,
            Self::MethodNotAllowed => StatusCode::METHOD_NOT_ALLOWED,
            Self::SkuTaken | Self::OrderNotPending { .. } | Self::PaymentsDisabled => {
                StatusCode::CONFLICT
            }
            Self::Refused(outcome) => refusal::status(outcome),
            Self::Unavailable | Self::NotInTime | Self::OutcomeUnknown { .. } => {
                StatusCode::SERVICE_UNAVAILABLE
            }
            Self::SlowBody => StatusCode::REQUEST_TIMEOUT,
            Self::Internal { .. } => StatusCode::INTERNAL_SERVER_ERROR,
        }
    }

    fn extras(&self) -> Extras {
        match self {
            Self::PayloadTooLarge { limit } => Extras::Limit { limit: *limit },
            Self::InvalidRequest { errors } => Extras::Errors {
                errors: errors.clone(),
            },
            Self::RateLimited(refusal) => Extras::Limit {
                limit: usize::try_from(refusal.limit).unwrap_or(usize::MAX),
            },
            Self::OutcomeUnknown { order_id } => Extras::OrderId {
                order_id: *order_id,
            },
            Self::OrderNotPending { order_status } => Extras::OrderStatus {
                order_status: *order_status,
            },
            Self::Refused(outcome) => refusal::extras(outcome),
            Self::UnsupportedMediaType
            | Self::Unauthenticated { .. }
            | Self::Forbidden
            | Self::MalformedJson { .. }
            | Self::NotFound
            | Self::MethodNotAllowed
            | Self::ProductNotFound
            | Self::OrderNotFound
            | Self::NotWaiting
            | Self::PaymentDeclined { .. }
            | Self::PaymentsDisabled
            | Self::SkuTaken
            | Self::HighDemand
            | Self::Unavailable
            | Self::NotInTime
            | Self::SlowBody
            | Self::Internal { .. } => Extras::None {},
        }
    }

    fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::HighDemand => Some(HIGH_DEMAND_RETRY),
            Self::Unavailable | Self::NotInTime | Self::OutcomeUnknown { .. } => {
                Some(UNAVAILABLE_RETRY)
            }
            Self::RateLimited(refusal) => Some(refusal.retry_after),
            Self::PayloadTooLarge { .. }
            | Self::UnsupportedMediaType
            | Self::Unauthenticated { .. }
            | Self::Forbidden
            | Self::MalformedJson { .. }
            | Self::InvalidRequest { .. }
            | Self::NotFound
            | Self::MethodNotAllowed
            | Self::ProductNotFound
            | Self::OrderNotFound
            | Self::OrderNotPending { .. }
            | Self::NotWaiting
            | Self::PaymentDeclined { .. }
            | Self::PaymentsDisabled
            | Self::SkuTaken
            | Self::Refused(_)
            | Self::SlowBody
            | Self::Internal { .. } => None,
        }
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let status = self.status();
        let code = self.code();
        let document = ProblemDocument {
            r#type: format!("urn:flash-sale:problem:{code}"),
            title: title(code),
            status: status.as_u16(),
            detail: self.detail(),
            code,
            extras: self.extras(),
        };
        let mut response = (status, Json(document)).into_response();
        let headers = response.headers_mut();
        headers.insert(
            header::CONTENT_TYPE,
            HeaderValue::from_static("application/problem+json"),
        );
        if let Some(after) = self.retry_after() {
            headers.insert(header::RETRY_AFTER, whole_seconds(after));
        }
        if let Self::Unauthenticated { .. } = self {
            headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        if let Self::RateLimited(refusal) = self {
            headers.insert("ratelimit-limit", refusal.limit.into());
            headers.insert("ratelimit-remaining", 0.into());
            headers.insert("ratelimit-reset", whole_seconds(refusal.reset));
        }
        if let Self::Internal { cause } = self {
            response.extensions_mut().insert(Cause(cause));
        }
        response
    }
}

/// Rounded up: a caller who comes back after it is not early.
fn whole_seconds(duration: Duration) -> HeaderValue {
    let seconds = duration.as_secs() + u64::from(duration.subsec_nanos() > 0);
    seconds.max(1).into()
}
