//! The JSON of a problem document (RFC 9457).

use std::borrow::Cow;

use chrono::{DateTime, Utc};
use serde::Serialize;
use utoipa::ToSchema;

use super::FieldError;
use crate::domain::{Code, OrderId, OrderStatus};

/// A problem document; its extra members depend on the code.
#[derive(Debug, Serialize, ToSchema)]
pub(in crate::api) struct ProblemDocument {
    pub r#type: String,
    pub title: String,
    pub status: u16,
    #[schema(value_type = String)]
    pub detail: Cow<'static, str>,
    pub code: Code,
    #[serde(flatten)]
    #[schema(ignore)]
    pub extras: Extras,
}

/// The extra members of a problem document.
#[derive(Debug, Serialize)]
#[serde(untagged)]
pub(in crate::api) enum Extras {
    None {},
    Limit {
        limit: usize,
    },
    Errors {
        errors: Vec<FieldError>,
    },
    OrderId {
        order_id: OrderId,
    },
    SaleWindow {
        starts_at: Option<DateTime<Utc>>,
        ends_at: Option<DateTime<Utc>>,
    },
    Held {
        limit: i32,
        held: i64,
    },
    Waitlist {
        waitlist: bool,
    },
    OrderStatus {
        order_status: OrderStatus,
    },
    Available {
        available: i32,
    },
}

/// `sold_out` as a title: `Sold out`.
pub(super) fn title(code: Code) -> String {
    let words = code.name().replace('_', " ");
    let mut letters = words.chars();
    match letters.next() {
        Some(first) => first.to_uppercase().chain(letters).collect(),
        None => words,
    }
}
