//! Errors as `application/problem+json` (RFC 9457), with the status of their [`Code`].

use std::time::Duration;

use axum::{
    Json,
    http::{HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use serde::Serialize;
use utoipa::ToSchema;

use crate::{
    admission::{RateLimited, StreamRefused},
    domain::{Code, OrderId, OrderStatus, Refusal},
    telemetry::request,
};

mod details;
mod document;
mod failure;
mod order_refusal;

pub(super) use self::document::{Extras, ProblemDocument, title, type_of};

/// An invalid field of the request, and the reason.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub struct FieldError {
    pub field: String,
    pub message: String,
}

impl FieldError {
    pub fn new(field: impl Into<String>, message: impl Into<String>) -> Self {
        Self {
            field: shortened(field.into(), FIELD_MAX),
            message: shortened(message.into(), MESSAGE_MAX),
        }
    }
}

/// A field's name can come from the request, and so can a part of the message: serde quotes the
/// unknown field. Longer ones are cut off, in characters.
const FIELD_MAX: usize = 100;
const MESSAGE_MAX: usize = 500;

fn shortened(mut text: String, max: usize) -> String {
    if let Some((end, _)) = text.char_indices().nth(max) {
        text.truncate(end);
        text.push('\u{2026}');
    }
    text
}

/// Why a request failed or was refused.
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
    /// The operators' pages were called by a name of somebody else.
    ForeignHost,
    MalformedJson {
        detail: String,
    },
    InvalidRequest {
        errors: Vec<FieldError>,
    },
    RateLimited(RateLimited),
    /// Too many requests of the client's address.
    AddressRateLimited(RateLimited),
    /// Too many event streams.
    StreamLimit(StreamRefused),
    /// The user sent too many confirmations.
    ConfirmationsLimited(RateLimited),
    /// Too many payments of this order were declined.
    PaymentsExhausted {
        limit: u32,
        /// After this long the order's hold has ended, and a new order may be placed.
        retry_after: Duration,
    },
    NotFound,
    MethodNotAllowed,
    ProductNotFound,
    OrderNotFound,
    /// The order has a status that forbids the call.
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
    /// A webhook's call is not signed by its sender.
    InvalidSignature {
        reason: String,
    },
    HasLiveOrders,
    /// A refusal of an order request.
    Refused(Refusal),
    HighDemand,
    /// Nothing was written.
    Unavailable,
    /// The keys that verify tokens are not known yet.
    KeysUnavailable,
    /// No money was charged or refunded.
    PaymentUnavailable,
    /// The database did not answer in time; a change may or may not have been made.
    NotInTime,
    /// The body did not arrive in time.
    RequestTimeout,
    OutcomeUnknown {
        order_id: OrderId,
    },
    /// The recovery completes the payment or the refund if it has begun.
    PaymentUnknown {
        order_id: OrderId,
    },
    /// A bug: the cause is logged, not sent to the caller.
    Internal {
        cause: String,
    },
}

/// The cause of a 500, for the layer that logs it with the request's id.
#[derive(Clone, Debug)]
pub(super) struct FailureCause(pub String);

const HIGH_DEMAND_RETRY: Duration = Duration::from_secs(1);
const UNAVAILABLE_RETRY: Duration = Duration::from_secs(2);
/// Streams last long, so places become free slowly.
const STREAM_RETRY: Duration = Duration::from_secs(10);

impl Problem {
    pub fn invalid(field: impl Into<String>, message: impl Into<String>) -> Self {
        Self::InvalidRequest {
            errors: vec![FieldError::new(field, message)],
        }
    }

    /// The code that callers branch on; it also determines the HTTP status.
    pub fn code(&self) -> Code {
        match self {
            Self::PayloadTooLarge { .. } => Code::PayloadTooLarge,
            Self::UnsupportedMediaType => Code::UnsupportedMediaType,
            Self::Unauthenticated { .. } => Code::Unauthenticated,
            Self::Forbidden | Self::ForeignHost => Code::Forbidden,
            Self::MalformedJson { .. } => Code::MalformedJson,
            Self::InvalidRequest { .. } => Code::InvalidRequest,
            Self::RateLimited(_)
            | Self::AddressRateLimited(_)
            | Self::ConfirmationsLimited(_)
            | Self::PaymentsExhausted { .. } => Code::RateLimited,
            Self::StreamLimit(_) => Code::StreamLimit,
            Self::NotFound => Code::NotFound,
            Self::MethodNotAllowed => Code::MethodNotAllowed,
            Self::ProductNotFound => Code::ProductNotFound,
            Self::OrderNotFound => Code::OrderNotFound,
            Self::OrderNotPending { .. } => Code::OrderNotPending,
            Self::NotWaiting => Code::NotWaiting,
            Self::PaymentDeclined { .. } => Code::PaymentDeclined,
            Self::PaymentsDisabled => Code::PaymentsDisabled,
            Self::SkuTaken => Code::SkuTaken,
            Self::InvalidSignature { .. } => Code::InvalidSignature,
            Self::HasLiveOrders => Code::HasLiveOrders,
            Self::Refused(refusal) => refusal.code(),
            Self::HighDemand => Code::HighDemand,
            Self::Unavailable
            | Self::KeysUnavailable
            | Self::PaymentUnavailable
            | Self::NotInTime => Code::Unavailable,
            Self::RequestTimeout => Code::RequestTimeout,
            Self::OutcomeUnknown { .. } | Self::PaymentUnknown { .. } => Code::OutcomeUnknown,
            Self::Internal { .. } => Code::Internal,
        }
    }

    fn extras(&self) -> Extras {
        let mut extras = Extras::default();
        match self {
            Self::PayloadTooLarge { limit } => extras.limit = u64::try_from(*limit).ok(),
            Self::InvalidRequest { errors } => extras.errors = Some(errors.clone()),
            Self::RateLimited(RateLimited { limit, .. })
            | Self::AddressRateLimited(RateLimited { limit, .. })
            | Self::ConfirmationsLimited(RateLimited { limit, .. })
            | Self::PaymentsExhausted { limit, .. } => extras.limit = Some((*limit).into()),
            Self::OutcomeUnknown { order_id } | Self::PaymentUnknown { order_id } => {
                extras.order_id = Some(*order_id);
            }
            Self::OrderNotPending { order_status } => extras.order_status = Some(*order_status),
            Self::Refused(refusal) => return order_refusal::extras(refusal),
            Self::UnsupportedMediaType
            | Self::Unauthenticated { .. }
            | Self::Forbidden
            | Self::ForeignHost
            | Self::MalformedJson { .. }
            | Self::NotFound
            | Self::MethodNotAllowed
            | Self::ProductNotFound
            | Self::OrderNotFound
            | Self::NotWaiting
            | Self::PaymentDeclined { .. }
            | Self::PaymentsDisabled
            | Self::SkuTaken
            | Self::HasLiveOrders
            | Self::StreamLimit(_)
            | Self::InvalidSignature { .. }
            | Self::HighDemand
            | Self::Unavailable
            | Self::KeysUnavailable
            | Self::PaymentUnavailable
            | Self::NotInTime
            | Self::RequestTimeout
            | Self::Internal { .. } => {}
        }
        extras
    }

    fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::HighDemand => Some(HIGH_DEMAND_RETRY),
            Self::Unavailable
            | Self::KeysUnavailable
            | Self::PaymentUnavailable
            | Self::NotInTime
            | Self::OutcomeUnknown { .. }
            | Self::PaymentUnknown { .. } => Some(UNAVAILABLE_RETRY),
            Self::StreamLimit(_) => Some(STREAM_RETRY),
            Self::RateLimited(RateLimited { retry_after, .. })
            | Self::AddressRateLimited(RateLimited { retry_after, .. })
            | Self::ConfirmationsLimited(RateLimited { retry_after, .. })
            | Self::PaymentsExhausted { retry_after, .. } => Some(*retry_after),
            Self::PayloadTooLarge { .. }
            | Self::UnsupportedMediaType
            | Self::Unauthenticated { .. }
            | Self::Forbidden
            | Self::ForeignHost
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
            | Self::InvalidSignature { .. }
            | Self::HasLiveOrders
            | Self::Refused(_)
            | Self::RequestTimeout
            | Self::Internal { .. } => None,
        }
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let code = self.code();
        request::note_problem(code);
        let document = ProblemDocument {
            r#type: type_of(code),
            title: title(code),
            status: code.status(),
            detail: self.detail(),
            code,
            request_id: request::with_ids(|ids| ids.request().to_owned()),
            traceparent: request::with_ids(|ids| ids.trace),
            extras: self.extras(),
        };
        let status = StatusCode::from_u16(code.status());
        let status = status.unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
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
        if let Self::StreamLimit(_) = self {
            // The refused client's connection is free again at once.
            headers.insert(header::CONNECTION, HeaderValue::from_static("close"));
        }
        if let Self::RateLimited(refusal)
        | Self::AddressRateLimited(refusal)
        | Self::ConfirmationsLimited(refusal) = self
        {
            headers.insert("ratelimit-limit", refusal.limit.into());
            headers.insert("ratelimit-remaining", 0.into());
            headers.insert("ratelimit-reset", whole_seconds(refusal.reset));
        }
        if let Self::Internal { cause } = self {
            response.extensions_mut().insert(FailureCause(cause));
        }
        response
    }
}

/// Rounded up, so that a caller who waits this long does not retry too early.
fn whole_seconds(duration: Duration) -> HeaderValue {
    let seconds = duration.as_secs() + u64::from(duration.subsec_nanos() > 0);
    seconds.max(1).into()
}
