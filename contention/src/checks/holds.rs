//! Checks of holds: expired units go to waiting buyers in order, payments are charged once and taken
//! over from a paused node.

use std::collections::{HashMap, HashSet};

use flash_sale::domain::OrderStatus;

use super::{Evidence, check_result};
use crate::{
    evidence::{Confirmed, TakeOver},
    report::Check,
};

/// Every hold has expired, and waiting buyers got the units in order of position; `None` where
/// holds do not expire.
pub(super) fn expired_units(evidence: &Evidence) -> Option<Check> {
    if !evidence.holds_expire {
        return None;
    }
    let mut breaches = Vec::new();
    let mut expected = 0_u64;
    for (product, (offer, row)) in evidence.offers.iter().zip(&evidence.rows).enumerate() {
        let answered: HashSet<_> = evidence
            .buys()
            .filter_map(|sample| sample.answer.order)
            .collect();
        let due = due_users(evidence, product, offer.stock);
        let mut has: HashMap<&str, u32> = HashMap::new();
        for order in &row.orders {
            let (id, user) = (order.id, order.user_id.as_str());
            if answered.contains(&id) {
                if order.status != OrderStatus::Expired {
                    let status = order.status;
                    breaches.push(format!(
                        "order {id} of user {user} is {status}, not expired"
                    ));
                }
                continue;
            }
            *has.entry(user).or_default() += 1;
            if !due.contains(user) {
                breaches.push(format!("order {id} went to user {user} out of turn"));
            }
        }
        for user in &due {
            let orders = has.get(user).copied().unwrap_or_default();
            if orders != 1 {
                breaches.push(format!(
                    "user {user} waited and has {orders} orders instead of 1"
                ));
            }
            expected += 1;
        }
    }
    breaches.sort();
    let detail = format!("{expected} waiting buyers were due an order");
    Some(check_result(
        "expired units go to waiting buyers in order",
        detail,
        breaches,
    ))
}

/// The first waiting users, as many as the stock has orders for.
fn due_users(evidence: &Evidence, product: usize, stock: u32) -> HashSet<&str> {
    let mut waiting: Vec<(u32, &str)> = evidence
        .buys()
        .filter(|sample| sample.planned.product == product && sample.answer.status == 202)
        .map(|sample| {
            let user = evidence.user(sample.planned.user);
            (sample.answer.position.unwrap_or(u32::MAX), user)
        })
        .collect();
    waiting.sort_unstable();
    let most = usize::try_from(stock / evidence.quantity.max(1)).unwrap_or(usize::MAX);
    waiting
        .into_iter()
        .take(most)
        .map(|(_, user)| user)
        .collect()
}

/// Another node has ended the payments of the paused one, which found nothing to end when it resumed;
/// `None` where no node was paused.
pub(super) fn taken_over(evidence: &Evidence) -> Option<Check> {
    let TakeOver {
        confirmed,
        paid_by_others,
    } = evidence.take_over.as_ref()?;
    let mut breaches: Vec<String> = confirmed
        .iter()
        .filter(|order| order.now != "confirmed")
        .map(|order| {
            let Confirmed {
                order, status, now, ..
            } = order;
            format!("order {order} is {now} instead of confirmed ({status})")
        })
        .collect();
    if *paid_by_others != confirmed.len() || confirmed.is_empty() {
        breaches.push(format!(
            "{paid_by_others} of {} payments were ended while their node was paused",
            confirmed.len()
        ));
    }
    let detail = format!("{paid_by_others} payments of the paused node ended by another");
    Some(check_result(
        "payments of a paused node are taken over",
        detail,
        breaches,
    ))
}

/// The gateway's charges match the confirmed orders; `None` without the runner's own gateway.
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
        "every confirmed order is charged once, and no other",
        detail,
        breaches,
    ))
}
