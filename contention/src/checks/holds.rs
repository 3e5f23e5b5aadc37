//! The checks of holds: expired ones go to waiting buyers in order, paid ones are charged once.

use std::collections::{HashMap, HashSet};

use flash_sale::domain::OrderStatus;

use super::{Evidence, check_result};
use crate::report::Check;

/// Every hold has ended and who waited has the units, the first first; none where holds do not end.
pub(super) fn inherited(evidence: &Evidence) -> Option<Check> {
    if !evidence.holds_end {
        return None;
    }
    let mut breaches = Vec::new();
    let mut heirs = 0_u64;
    for (product, (offer, row)) in evidence.offers.iter().zip(&evidence.rows).enumerate() {
        let told: HashSet<_> = evidence
            .buys()
            .filter_map(|sample| sample.answer.order)
            .collect();
        let mut waited: Vec<(u32, &str)> = evidence
            .buys()
            .filter(|sample| sample.planned.product == product && sample.answer.status == 202)
            .map(|sample| {
                let user = evidence.user(sample.planned.user);
                (sample.answer.position.unwrap_or(u32::MAX), user)
            })
            .collect();
        waited.sort_unstable();
        let most = offer.stock / evidence.quantity.max(1);
        let served: HashSet<&str> = waited
            .iter()
            .take(usize::try_from(most).unwrap_or(usize::MAX))
            .map(|(_, user)| *user)
            .collect();
        let mut has: HashMap<&str, u32> = HashMap::new();
        for order in &row.orders {
            let (id, user) = (order.id, order.user_id.as_str());
            if told.contains(&id) {
                if order.status != OrderStatus::Expired {
                    let status = order.status;
                    breaches.push(format!(
                        "order {id} of user {user} is {status}, not expired"
                    ));
                }
                continue;
            }
            *has.entry(user).or_default() += 1;
            if !served.contains(user) {
                breaches.push(format!(
                    "order {id} went to user {user}, whose turn it was not"
                ));
            }
        }
        for user in &served {
            let orders = has.get(user).copied().unwrap_or_default();
            if orders != 1 {
                breaches.push(format!("user {user} waited and has {orders} orders"));
            }
            heirs += 1;
        }
    }
    breaches.sort();
    let detail = format!("{heirs} who waited were to be served");
    Some(check_result(
        "what nobody paid for went to who waited, in order",
        detail,
        breaches,
    ))
}

/// The gateway's ledger fits the orders; none where the gateway was not the runner's.
pub(super) fn charged_once(evidence: &Evidence) -> Option<Check> {
    let charges = evidence.charges.as_ref()?;
    let mut breaches = Vec::new();
    let orders = evidence.rows.iter().flat_map(|row| &row.orders);
    let confirmed: HashSet<_> = orders
        .filter(|order| order.status == OrderStatus::Confirmed)
        .map(|order| order.id)
        .collect();
    for id in &confirmed {
        let times = charges.get(id).copied().unwrap_or_default();
        if times != 1 {
            breaches.push(format!(
                "order {id} is confirmed and was charged {times} times"
            ));
        }
    }
    for (id, times) in charges {
        if !confirmed.contains(id) {
            breaches.push(format!(
                "order {id} was charged {times} times and is not confirmed"
            ));
        }
    }
    breaches.sort();
    let detail = format!(
        "{} orders confirmed, {} charged",
        confirmed.len(),
        charges.len()
    );
    Some(check_result(
        "every confirmed order was charged once, and no other",
        detail,
        breaches,
    ))
}
