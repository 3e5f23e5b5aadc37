//! The JSON of a problem document (RFC 9457).

use std::borrow::Cow;

use chrono::{DateTime, Utc};
use serde::Serialize;
use utoipa::ToSchema;

use super::FieldError;
use crate::domain::{Code, OrderId, OrderStatus, TraceContext};

/// A problem document; which of the optional members it has depends on the code.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Problem)]
pub(in crate::api) struct ProblemDocument {
    /// `urn:flash-sale:problem:` and the code.
    pub r#type: String,
    /// The code in words.
    pub title: String,
    /// The HTTP status.
    pub status: u16,
    /// What happened, and what to do, for a person.
    #[schema(value_type = String)]
    pub detail: Cow<'static, str>,
    pub code: Code,
    /// The `X-Request-Id` of the answer.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub request_id: Option<String>,
    /// The request's span: the trace id of its caller's `traceparent` or a new one, the id of the
    /// span, and whether it is recorded.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, nullable = false)]
    pub traceparent: Option<TraceContext>,
    #[serde(flatten)]
    pub extras: Extras,
}

/// The optional members of a problem document.
#[derive(Debug, Default, Serialize, ToSchema)]
#[schema(as = ProblemMembers)]
#[expect(clippy::option_option, reason = "absent, null and a value differ")]
pub(in crate::api) struct Extras {
    /// The bound that the request exceeds.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub limit: Option<u64>,
    /// Units that the buyer already holds.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub held: Option<i64>,
    /// The invalid fields.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub errors: Option<Vec<FieldError>>,
    /// The order whose outcome is unknown.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Uuid>, nullable = false)]
    pub order_id: Option<OrderId>,
    /// The status that forbids the call.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub order_status: Option<OrderStatus>,
    /// When the sale starts.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<DateTime<Utc>>)]
    pub starts_at: Option<Option<DateTime<Utc>>>,
    /// When the sale ends.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<DateTime<Utc>>)]
    pub ends_at: Option<Option<DateTime<Utc>>>,
    /// Whether the product has a waitlist to join.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub waitlist: Option<bool>,
    /// Units for sale.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub available: Option<i32>,
}

/// `sold_out` as a title: `Sold out`.
pub(in crate::api) fn title(code: Code) -> String {
    let words = code.name().replace('_', " ");
    let mut letters = words.chars();
    match letters.next() {
        Some(first) => first.to_uppercase().chain(letters).collect(),
        None => words,
    }
}

/// The `type` of a code's problems.
pub(in crate::api) fn type_of(code: Code) -> String {
    format!("urn:flash-sale:problem:{code}")
}
