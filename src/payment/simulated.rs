//! Simulated payment gateway for the demo: moves no money. Its answer depends on the request alone,
//! so a repeated request gets the same answer, also after a restart. Only what buyers said to the
//! simulated bank is kept in memory: a buyer whose answer was forgotten can give it again.

use std::time::Duration;

use moka::sync::Cache;

use super::{Charge, ChargeResult};
use crate::domain::{Payment, PaymentStatus, Secret};

/// Prefixes of payment methods that are declined; the first is that of Stripe's test methods.
const DECLINING_PREFIXES: [&str; 2] = ["pm_card_chargeDeclined", "decline"];
/// Prefix of Stripe's test methods that their buyer has to authenticate (3-D Secure).
const AUTHENTICATING_PREFIX: &str = "pm_card_authenticationRequired";
const SECRET_SUFFIX: &str = "_secret";

/// Answers that are kept; the oldest is forgotten beyond.
const ANSWERS_MAX: u64 = 10_000;
/// Longer than the longest time that a buyer may take.
const ANSWERS_KEPT: Duration = Duration::from_hours(24);

/// The gateway, and the bank that authenticates its payments.
#[derive(Debug)]
pub struct Simulated {
    /// Whether the buyer approved the payment, by its id.
    answers: Cache<String, bool>,
}

impl Default for Simulated {
    fn default() -> Self {
        let answers = Cache::builder().max_capacity(ANSWERS_MAX);
        Self {
            answers: answers.time_to_live(ANSWERS_KEPT).build(),
        }
    }
}

impl Simulated {
    /// Takes the buyer's answer to the bank; the first one counts. `false` if no payment has this
    /// secret.
    pub fn answer(&self, client_secret: &str, approve: bool) -> bool {
        let payment = client_secret.strip_suffix(SECRET_SUFFIX);
        let Some(payment) = payment.filter(|payment| payment.starts_with("sim_")) else {
            return false;
        };
        self.answers.entry_by_ref(payment).or_insert(approve);
        true
    }

    pub(super) fn charge(&self, charge: &Charge<'_>) -> ChargeResult {
        let id = format!("sim_{}", charge.order_id.simple());
        let begins = |prefix: &str| charge.payment_method.starts_with(prefix);
        if DECLINING_PREFIXES.into_iter().any(begins) {
            return ChargeResult::Declined {
                intent: Some(id),
                reason: "card_declined".to_owned(),
            };
        }
        if begins(AUTHENTICATING_PREFIX) {
            // A rejected payment ends with its attempt.
            return self.authenticated(format!("{id}_{}", charge.attempt));
        }
        ChargeResult::Paid(Payment::new(id, PaymentStatus::Succeeded))
    }

    /// The state of a payment that waits for its buyer.
    pub(super) fn state(&self, charge: &Charge<'_>) -> ChargeResult {
        match charge.intent {
            Some(intent) => self.authenticated(intent.to_owned()),
            None => self.charge(charge),
        }
    }

    /// Ends a payment that waits for its buyer, unless the buyer has approved it.
    pub(super) fn cancel(&self, charge: &Charge<'_>) -> ChargeResult {
        if let Some(intent) = charge.intent {
            self.answers.entry_by_ref(intent).or_insert(false);
        }
        self.state(charge)
    }

    fn authenticated(&self, id: String) -> ChargeResult {
        match self.answers.get(&id) {
            Some(true) => ChargeResult::Paid(Payment::new(id, PaymentStatus::Succeeded)),
            Some(false) => ChargeResult::Declined {
                intent: None,
                reason: "authentication_failed".to_owned(),
            },
            None => ChargeResult::RequiresAction {
                client_secret: Secret::new(format!("{id}{SECRET_SUFFIX}")),
                intent: id,
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{domain::OrderId, payment::SendMode};

    fn charge_of(order_id: OrderId, payment_method: &str) -> Charge<'_> {
        Charge {
            order_id,
            amount: 1_999,
            currency: "EUR",
            payment_method,
            intent: None,
            attempt: 1,
            mode: SendMode::First,
        }
    }

    fn charged(order_id: OrderId, payment_method: &str) -> ChargeResult {
        Simulated::default().charge(&charge_of(order_id, payment_method))
    }

    #[test]
    fn equal_requests_get_equal_answers() {
        let order = OrderId::now_v7();
        let paid = charged(order, "pm_card_visa");
        assert!(matches!(&paid, ChargeResult::Paid(payment) if payment.id.starts_with("sim_")));
        assert_eq!(charged(order, "pm_card_visa"), paid);
        assert_ne!(charged(OrderId::now_v7(), "pm_card_visa"), paid);
    }

    #[test]
    fn payment_methods_with_a_declining_prefix_are_declined() {
        for method in [
            "pm_card_chargeDeclined",
            "pm_card_chargeDeclinedExpiredCard",
            "decline-me",
        ] {
            let declined = charged(OrderId::now_v7(), method);
            assert!(
                matches!(declined, ChargeResult::Declined { .. }),
                "{method}"
            );
        }
    }

    /// The intent and secret of a payment that waits for its buyer.
    fn waiting(gateway: &Simulated, charge: &Charge<'_>) -> (String, Secret) {
        match gateway.charge(charge) {
            ChargeResult::RequiresAction {
                intent,
                client_secret,
            } => (intent, client_secret),
            other @ (ChargeResult::Paid(_) | ChargeResult::Declined { .. }) => panic!("{other:?}"),
        }
    }

    #[test]
    fn the_first_answer_of_a_buyer_decides() {
        for approve in [true, false] {
            let gateway = Simulated::default();
            let charge = charge_of(OrderId::now_v7(), "pm_card_authenticationRequired");
            let (intent, secret) = waiting(&gateway, &charge);
            let charge = Charge {
                intent: Some(&intent),
                ..charge
            };
            let asked = gateway.state(&charge);
            assert!(matches!(asked, ChargeResult::RequiresAction { .. }));

            assert!(gateway.answer(secret.expose(), approve));
            assert!(gateway.answer(secret.expose(), !approve));

            let paid = |result| matches!(result, ChargeResult::Paid(_));
            assert_eq!(paid(gateway.state(&charge)), approve);
            assert_eq!(paid(gateway.cancel(&charge)), approve);
        }
    }

    #[test]
    fn a_cancelled_payment_cannot_be_approved() {
        let gateway = Simulated::default();
        let charge = charge_of(OrderId::now_v7(), "pm_card_authenticationRequired");
        let (intent, secret) = waiting(&gateway, &charge);
        let charge = Charge {
            intent: Some(&intent),
            ..charge
        };

        gateway.cancel(&charge);
        gateway.answer(secret.expose(), true);

        let state = gateway.state(&charge);
        assert!(matches!(state, ChargeResult::Declined { .. }), "{state:?}");
    }

    #[test]
    fn only_secrets_of_payments_are_accepted() {
        let gateway = Simulated::default();
        for wrong in ["", "sim_1", "pi_1_secret", "_secret"] {
            assert!(!gateway.answer(wrong, true), "{wrong}");
        }
    }
}
