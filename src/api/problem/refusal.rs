//! Order outcomes that are no success, as problems.

use std::borrow::Cow;

use axum::http::StatusCode;

use super::{Extras, FieldError};
use crate::domain::Outcome;

pub(super) fn status(outcome: &Outcome) -> StatusCode {
    match outcome {
        Outcome::Created(_) | Outcome::Replayed(_) => StatusCode::CREATED,
        Outcome::Waitlisted(_) | Outcome::WaitReplayed(_) => StatusCode::ACCEPTED,
        Outcome::ProductNotFound => StatusCode::NOT_FOUND,
        Outcome::QuantityOverLimit { .. } | Outcome::KeyReused => StatusCode::UNPROCESSABLE_ENTITY,
        Outcome::NotOnSale { .. }
        | Outcome::PurchaseLimit { .. }
        | Outcome::SoldOut { .. }
        | Outcome::InsufficientStock { .. } => StatusCode::CONFLICT,
    }
}

pub(super) fn detail(outcome: &Outcome) -> Cow<'static, str> {
    match outcome {
        Outcome::Created(_) | Outcome::Replayed(_) => "The order was taken.".into(),
        Outcome::Waitlisted(_) | Outcome::WaitReplayed(_) => "You are on the waitlist.".into(),
        Outcome::ProductNotFound => "There is no such product.".into(),
        Outcome::QuantityOverLimit { max_per_order } => {
            format!("An order takes {max_per_order} units at most.").into()
        }
        Outcome::KeyReused => "This Idempotency-Key was used for a different request.".into(),
        Outcome::NotOnSale { .. } => "The product is not on sale at this time.".into(),
        Outcome::PurchaseLimit { limit, held } => {
            format!("A buyer gets {limit} units at most; you have {held}.").into()
        }
        Outcome::SoldOut { .. } => "Sold out.".into(),
        Outcome::InsufficientStock { available } => format!("Only {available} left.").into(),
    }
}

pub(super) fn extras(outcome: &Outcome) -> Extras {
    match *outcome {
        Outcome::Created(_)
        | Outcome::Replayed(_)
        | Outcome::Waitlisted(_)
        | Outcome::WaitReplayed(_)
        | Outcome::ProductNotFound
        | Outcome::KeyReused => Extras::None {},
        Outcome::QuantityOverLimit { max_per_order } => Extras::Errors {
            errors: vec![FieldError::new(
                "quantity",
                format!("must be at most {max_per_order}, the product's max_per_order"),
            )],
        },
        Outcome::NotOnSale { starts_at, ends_at } => Extras::SaleWindow { starts_at, ends_at },
        Outcome::PurchaseLimit { limit, held } => Extras::Held { limit, held },
        Outcome::SoldOut { waitlist } => Extras::Waitlist { waitlist },
        Outcome::InsufficientStock { available } => Extras::Available { available },
    }
}
