//! A gateway that moves no money, for the demo. Its answer follows from the question alone, so it
//! gives the same one again, also after a restart.

use super::{Charge, ChargeResult};
use crate::domain::{Payment, PaymentStatus};

/// Payment methods that begin so decline; the first is the name of Stripe's test methods.
const DECLINING: [&str; 2] = ["pm_card_chargeDeclined", "decline"];

pub(super) fn charge(charge: &Charge<'_>) -> ChargeResult {
    let id = format!("sim_{}", charge.order_id.simple());
    let declines = |start: &&str| charge.payment_method.starts_with(*start);
    if DECLINING.iter().any(declines) {
        return ChargeResult::Declined {
            intent: Some(id),
            reason: "card_declined".to_owned(),
        };
    }
    ChargeResult::Paid(Payment {
        id,
        status: PaymentStatus::Succeeded,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{domain::OrderId, payment::SendMode};

    fn of(order_id: OrderId, payment_method: &str) -> ChargeResult {
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
    fn the_same_question_has_the_same_answer() {
        let order = OrderId::now_v7();
        let paid = of(order, "pm_card_visa");
        assert!(matches!(&paid, ChargeResult::Paid(payment) if payment.id.starts_with("sim_")));
        assert_eq!(of(order, "pm_card_visa"), paid);
        assert_ne!(of(OrderId::now_v7(), "pm_card_visa"), paid);
    }

    #[test]
    fn methods_that_are_named_so_decline() {
        for method in [
            "pm_card_chargeDeclined",
            "pm_card_chargeDeclinedExpiredCard",
            "decline-me",
        ] {
            let declined = of(OrderId::now_v7(), method);
            assert!(
                matches!(declined, ChargeResult::Declined { .. }),
                "{method}"
            );
        }
    }
}
