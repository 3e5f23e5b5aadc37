//! Order outcomes that are no success, as problems.

use axum::http::StatusCode;
use serde_json::{Value, json};

use super::FieldError;
use crate::domain::Outcome;

pub(super) fn status(outcome: &Outcome) -> StatusCode {
    match outcome {
        Outcome::Created(_) | Outcome::Replayed(_) => StatusCode::CREATED,
        Outcome::ProductNotFound => StatusCode::NOT_FOUND,
        Outcome::QuantityOverLimit { .. } | Outcome::KeyReused => StatusCode::UNPROCESSABLE_ENTITY,
        Outcome::NotOnSale { .. }
        | Outcome::PurchaseLimit { .. }
        | Outcome::SoldOut { .. }
        | Outcome::InsufficientStock { .. } => StatusCode::CONFLICT,
    }
}

pub(super) fn detail(outcome: &Outcome) -> String {
    match outcome {
        Outcome::Created(_) | Outcome::Replayed(_) => "The order was taken.".to_owned(),
        Outcome::ProductNotFound => "There is no such product.".to_owned(),
        Outcome::QuantityOverLimit { max_per_order } => {
            format!("An order takes {max_per_order} units at most.")
        }
        Outcome::KeyReused => "This Idempotency-Key was used for a different request.".to_owned(),
        Outcome::NotOnSale { .. } => "The product is not on sale at this time.".to_owned(),
        Outcome::PurchaseLimit { limit, held } => {
            format!("A buyer gets {limit} units at most; you have {held}.")
        }
        Outcome::SoldOut { .. } => "Sold out.".to_owned(),
        Outcome::InsufficientStock { available } => format!("Only {available} left."),
    }
}

pub(super) fn extras(outcome: &Outcome) -> Value {
    match outcome {
        Outcome::Created(_)
        | Outcome::Replayed(_)
        | Outcome::ProductNotFound
        | Outcome::KeyReused => json!({}),
        Outcome::QuantityOverLimit { max_per_order } => json!({ "errors": [FieldError::new(
            "quantity", format!("must be at most {max_per_order}, the product's max_per_order"),
        )] }),
        Outcome::NotOnSale { starts_at, ends_at } => {
            json!({ "starts_at": starts_at, "ends_at": ends_at })
        }
        Outcome::PurchaseLimit { limit, held } => json!({ "limit": limit, "held": held }),
        Outcome::SoldOut { waitlist } => json!({ "waitlist": waitlist }),
        Outcome::InsufficientStock { available } => json!({ "available": available }),
    }
}
