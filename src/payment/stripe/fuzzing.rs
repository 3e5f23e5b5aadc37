//! The interpretation of Stripe's answers, for the fuzz targets in `fuzz/`.

use uuid::Uuid;

use super::{
    super::{Charge, ChargeResult, SendMode},
    answer::{self, StripeResponse},
};

/// The order that the answers are for.
pub const ORDER: Uuid = Uuid::from_u128(7);
pub const AMOUNT: i64 = 1_999;
pub const CURRENCY: &str = "EUR";

/// What an answer means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    Paid,
    NotPaid,
}

/// The meaning of an answer to a charge, first or repeated.
pub fn charged(status: u16, body: &[u8]) -> Outcome {
    let response = response(status, body);
    let is_paid = |mode| {
        let charge = Charge {
            order_id: ORDER,
            amount: AMOUNT,
            currency: CURRENCY,
            payment_method: "pm_card_visa",
            intent: None,
            attempt: 1,
            mode,
        };
        matches!(
            answer::charged(&response, &charge),
            Ok(ChargeResult::Paid(_))
        )
    };
    if [SendMode::First, SendMode::Retry].into_iter().any(is_paid) {
        Outcome::Paid
    } else {
        Outcome::NotPaid
    }
}

/// Interprets an answer to a refund.
pub fn refunded(status: u16, body: &[u8]) {
    drop(answer::refunded(&response(status, body), "pi_1"));
}

fn response(status: u16, body: &[u8]) -> StripeResponse {
    let body = body.to_vec();
    StripeResponse { status, body }
}
