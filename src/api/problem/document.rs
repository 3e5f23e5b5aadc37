//! The document of a problem (RFC 9457), as it is sent.

use std::borrow::Cow;

use chrono::{DateTime, Utc};
use serde::Serialize;
use utoipa::ToSchema;

use super::FieldError;
use crate::domain::{OrderId, OrderStatus};

/// How the document of a problem looks; extras depend on the code.
#[derive(Debug, Serialize, ToSchema)]
pub(in crate::api) struct ProblemDocument {
    pub r#type: String,
    pub title: String,
    pub status: u16,
    #[schema(value_type = String)]
    pub detail: Cow<'static, str>,
    pub code: &'static str,
    #[serde(flatten)]
    #[schema(ignore)]
    pub extras: Extras,
}

/// The members of a document beside the standard ones.
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
pub(super) fn title(code: &str) -> String {
    let words = code.replace('_', " ");
    let mut letters = words.chars();
    match letters.next() {
        Some(first) => first.to_uppercase().chain(letters).collect(),
        None => words,
    }
}
