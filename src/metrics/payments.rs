//! The figures of the payment gateway.

use metrics::{counter, describe_counter};

const PAYMENTS: &str = "flash_sale_payments_total";

/// What came of asking the gateway.
const OUTCOMES: [&str; 7] = [
    "paid",
    "declined",
    "unknown",
    "not_charged",
    "refunded",
    "refund_unknown",
    "not_refunded",
];

pub(super) fn init() {
    describe_counter!(
        PAYMENTS,
        "Questions to the payment gateway, by outcome: paid, declined, unknown (asked again later), not_charged, refunded, refund_unknown, not_refunded."
    );
    for outcome in OUTCOMES {
        counter!(PAYMENTS, "outcome" => outcome).absolute(0);
    }
}

/// The gateway was asked; `outcome` is one of those that the counter starts with.
pub fn answered(outcome: &'static str) {
    counter!(PAYMENTS, "outcome" => outcome).increment(1);
}
