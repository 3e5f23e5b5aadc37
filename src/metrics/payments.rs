//! Metrics of the payment gateway.

use metrics::{counter, describe_counter};

const PAYMENTS: &str = "flash_sale_payments_total";

/// The outcomes of a gateway call.
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
        "Calls of the payment gateway, by outcome: paid, declined, unknown (repeated later), not_charged, refunded, refund_unknown, not_refunded."
    );
    for outcome in OUTCOMES {
        counter!(PAYMENTS, "outcome" => outcome).absolute(0);
    }
}

/// Counts a gateway call; `outcome` is one of `OUTCOMES`.
pub fn answered(outcome: &'static str) {
    counter!(PAYMENTS, "outcome" => outcome).increment(1);
}
