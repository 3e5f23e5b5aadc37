//! Simulated payment gateway for the demo: moves no money. Its answer depends on the request alone,
//! so a repeated request gets the same answer, also after a restart.

use super::{Charge, ChargeResult};
use crate::domain::{Payment, PaymentStatus};

/// Prefixes of payment methods that are declined; the first is that of Stripe's test methods.
const DECLINING_PREFIXES: [&str; 2] = ["pm_card_chargeDeclined", "decline"];

pub(super) fn charge(charge: &Charge<'_>) -> ChargeResult {
    let id = format!("sim_{}", charge.order_id.simple());
    let declines = |prefix: &&str| charge.payment_method.starts_with(*prefix);
    if DECLINING_PREFIXES.iter().any(declines) {
        return ChargeResult::Declined {
            intent: Some(id),
            reason: "card_declined".to_owned(),
        };
    }
    ChargeResult::Paid(Payment::new(id, PaymentStatus::Succeeded))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{domain::OrderId, payment::SendMode};

    fn charged(order_id: OrderId, payment_method: &str) -> ChargeResult {
        charge(&Charge {
            order_id,
            amount: 1_999,
            currency: "EUR",
            payment_method,
            intent: None,
            attempt: 1,
            mode: SendMode::First,
        })
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
}
