//! Refusals of `POST /orders` as problems: `detail` text and extra members.

use std::borrow::Cow;

use super::{Extras, FieldError};
use crate::domain::Refusal;

pub(super) fn detail(refusal: &Refusal) -> Cow<'static, str> {
    match refusal {
        Refusal::ProductNotFound => "There is no such product.".into(),
        Refusal::QuantityOverLimit { max_per_order } => {
            format!("An order takes {max_per_order} units at most.").into()
        }
        Refusal::IdempotencyKeyReused => {
            "This Idempotency-Key was used for a different request.".into()
        }
        Refusal::NotOnSale { .. } => "The product is not on sale at this time.".into(),
        Refusal::PurchaseLimit { limit, held } => {
            format!("A buyer gets {limit} units at most; you have {held}.").into()
        }
        Refusal::SoldOut { .. } => "Sold out.".into(),
        Refusal::InsufficientStock { available } => format!("Only {available} left.").into(),
    }
}

pub(super) fn extras(refusal: &Refusal) -> Extras {
    let mut extras = Extras::default();
    match *refusal {
        Refusal::ProductNotFound | Refusal::IdempotencyKeyReused => {}
        Refusal::QuantityOverLimit { max_per_order } => {
            extras.errors = Some(vec![FieldError::new(
                "quantity",
                format!("must be at most {max_per_order}, the product's max_per_order"),
            )]);
        }
        Refusal::NotOnSale { starts_at, ends_at } => {
            extras.starts_at = Some(starts_at);
            extras.ends_at = Some(ends_at);
        }
        Refusal::PurchaseLimit { limit, held } => {
            extras.limit = u64::try_from(limit).ok();
            extras.held = Some(held);
        }
        Refusal::SoldOut { waitlist } => extras.waitlist = Some(waitlist),
        Refusal::InsufficientStock { available } => extras.available = Some(available),
    }
    extras
}
