//! Metrics of the payment gateway.

use std::time::Duration;

use metrics::{Unit, counter, describe_counter, describe_gauge, gauge};

const PAYMENTS: &str = "flash_sale_payments_total";
const STRAY: &str = "flash_sale_payments_stray_total";
const OPEN: &str = "flash_sale_payments_open";
const OPEN_AGE: &str = "flash_sale_payments_open_age_seconds";

/// Why a payment is open.
#[derive(Clone, Copy, Debug)]
pub enum Open {
    /// The gateway's call is repeated.
    Repeated,
    /// A person has to resolve it.
    Left,
    /// It has to be refunded, because its order had ended.
    Stray,
}

impl Open {
    const ALL: [Self; 3] = [Self::Repeated, Self::Left, Self::Stray];

    fn label(self) -> &'static str {
        match self {
            Self::Repeated => "repeated",
            Self::Left => "left",
            Self::Stray => "stray",
        }
    }
}

/// The outcomes of a gateway call.
const OUTCOMES: [&str; 8] = [
    "paid",
    "requires_action",
    "declined",
    "unknown",
    "not_charged",
    "refunded",
    "refund_unknown",
    "not_refunded",
];

const WEBHOOKS: &str = "flash_sale_webhooks_total";

/// What became of a call of the gateway's webhook.
const WEBHOOK_OUTCOMES: [&str; 4] = ["accepted", "ignored", "refused", "failed"];

const REFUSED: &str = "flash_sale_confirmations_refused_total";

/// Which bound of confirmations was reached.
const BOUNDS: [&str; 2] = ["user", "order"];

pub(super) fn init() {
    describe_counter!(
        PAYMENTS,
        "Calls of the payment gateway, by outcome: paid, requires_action (the buyer has to authenticate it), declined, unknown (repeated later), not_charged, refunded, refund_unknown, not_refunded."
    );
    describe_counter!(
        STRAY,
        "Payments that the gateway took for an order that was cancelled, expired or paid otherwise; each is refunded."
    );
    counter!(STRAY).absolute(0);
    describe_gauge!(
        OPEN,
        "Payments and refunds open for more than a minute, in the whole shop, by state: repeated, left (a person has to resolve them), stray (not refunded yet)."
    );
    describe_gauge!(
        OPEN_AGE,
        Unit::Seconds,
        "Age of the oldest of these payments, by state; 0 when there is none."
    );
    for state in Open::ALL {
        open(state, 0, Duration::ZERO);
    }
    for outcome in OUTCOMES {
        counter!(PAYMENTS, "outcome" => outcome).absolute(0);
    }
    describe_counter!(
        WEBHOOKS,
        "Calls of the gateway's webhook by outcome: accepted, ignored (not about the payment of an order), refused (no valid signature: a forged call, or a wrong STRIPE_WEBHOOK_SECRET), failed (sent again by the gateway)."
    );
    for outcome in WEBHOOK_OUTCOMES {
        counter!(WEBHOOKS, "outcome" => outcome).absolute(0);
    }
    describe_counter!(
        REFUSED,
        "Confirmations answered rate_limited, by the bound that was reached: user (calls a minute), order (declined payments)."
    );
    for bound in BOUNDS {
        counter!(REFUSED, "bound" => bound).absolute(0);
    }
}

/// Counts a gateway call; `outcome` is one of `OUTCOMES`.
pub fn answered(outcome: &'static str) {
    counter!(PAYMENTS, "outcome" => outcome).increment(1);
}

/// Counts a payment that has to be refunded, because its order ended without it.
pub fn stray() {
    counter!(STRAY).increment(1);
}

/// Sets the number of payments that are open for more than a minute, and the age of the oldest.
pub fn open(state: Open, count: usize, oldest: Duration) {
    let count = u32::try_from(count).unwrap_or(u32::MAX);
    gauge!(OPEN, "state" => state.label()).set(count);
    gauge!(OPEN_AGE, "state" => state.label()).set(oldest.as_secs_f64());
}

/// Counts a confirmation that a bound refused; `bound` is one of `BOUNDS`.
pub fn confirmation_refused(bound: &'static str) {
    counter!(REFUSED, "bound" => bound).increment(1);
}

/// Counts a call of the gateway's webhook; `outcome` is one of `WEBHOOK_OUTCOMES`.
pub fn webhook(outcome: &'static str) {
    counter!(WEBHOOKS, "outcome" => outcome).increment(1);
}
