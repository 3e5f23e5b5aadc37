//! Checks of orders: every answered order is in the database, and every order in the database was
//! answered once, to its buyer.

use std::collections::{HashMap, HashSet};

use flash_sale::domain::Code;
use uuid::Uuid;

use super::{Evidence, check_result};
use crate::{
    evidence::Confirmed,
    report::{Check, codes::AnswerCode},
};

/// Every 201 is in the database, with its buyer.
pub(super) fn in_database(evidence: &Evidence) -> Check {
    let rows: HashMap<Uuid, &str> = evidence
        .rows
        .iter()
        .flat_map(|row| &row.orders)
        .map(|order| (order.id, order.user_id.as_str()))
        .collect();
    let mut breaches = Vec::new();
    let mut answered = 0_u64;
    for sample in evidence.buys().filter(|sample| sample.answer.won()) {
        answered += 1;
        let user = evidence.user(sample.planned.user);
        match sample.answer.order {
            None => breaches.push(format!("user {user} was answered 201 without an order")),
            Some(order) => match rows.get(&order) {
                None => breaches.push(format!(
                    "order {order}, answered 201 to user {user}, is not in the database"
                )),
                Some(owner) if evidence.is_full_service && *owner != user => {
                    breaches.push(format!(
                        "order {order}, answered 201 to user {user}, is user {owner}'s"
                    ));
                }
                Some(_) => {}
            },
        }
    }
    let detail = format!(
        "{answered} orders answered 201, {} in the database",
        rows.len()
    );
    check_result("every 201 is in the database", detail, breaches)
}

/// No buyer has an order without having received its id.
pub(super) fn answered_to_buyer(evidence: &Evidence) -> Check {
    let answered: HashSet<Uuid> = evidence
        .buys()
        .filter_map(|sample| sample.answer.order)
        .collect();
    let mut last_answers: HashMap<&str, AnswerCode> = HashMap::new();
    let mut unsure: HashSet<&str> = HashSet::new();
    for sample in evidence.buys() {
        let user = evidence.user(sample.planned.user);
        last_answers.insert(user, sample.answer.code);
        // The answer says that the outcome is unknown; the client may retry with its key.
        if sample.answer.code == AnswerCode::Refused(Code::OutcomeUnknown) {
            unsure.insert(user);
        }
    }
    let mut breaches = Vec::new();
    let mut orders = 0_u64;
    for order in evidence.rows.iter().flat_map(|row| &row.orders) {
        orders += 1;
        let user = order.user_id.as_str();
        let answer = last_answers.get(user).copied();
        // Buyers on the waitlist get their orders later.
        if answered.contains(&order.id)
            || unsure.contains(user)
            || answer == Some(AnswerCode::Waitlisted)
        {
            continue;
        }
        let answer = answer.map_or("nothing", AnswerCode::name);
        breaches.push(format!(
            "order {} of user {user} was never answered: the last answer was {answer}",
            order.id
        ));
    }
    let detail = format!("{orders} orders in the database");
    check_result(
        "every order in the database was answered to its buyer",
        detail,
        breaches,
    )
}

/// One order per key, however often it is sent.
pub(super) fn one_per_key(evidence: &Evidence) -> Check {
    let mut orders: HashMap<u32, (u32, HashSet<Uuid>)> = HashMap::new();
    let mut sent: HashMap<(&str, usize), HashSet<u32>> = HashMap::new();
    for sample in evidence.buys() {
        let planned = sample.planned;
        let known = orders
            .entry(planned.number)
            .or_insert((planned.user, HashSet::new()));
        known.1.extend(sample.answer.order);
        let user = evidence.user(planned.user);
        sent.entry((user, planned.product))
            .or_default()
            .insert(planned.number);
    }
    let mut breaches: Vec<String> = orders
        .iter()
        .filter(|(_, (_, ids))| ids.len() > 1)
        .map(|(number, (user, ids))| {
            let user = evidence.user(*user);
            format!(
                "key {number} of user {user} created {} orders: {}",
                ids.len(),
                list(ids)
            )
        })
        .collect();
    for (product, row) in evidence.rows.iter().enumerate() {
        let mut of_user: HashMap<&str, HashSet<Uuid>> = HashMap::new();
        for order in &row.orders {
            of_user.entry(&order.user_id).or_default().insert(order.id);
        }
        for (user, ids) in of_user {
            let keys = sent.get(&(user, product)).map_or(0, HashSet::len);
            if ids.len() > keys {
                let orders = list(&ids);
                breaches.push(format!(
                    "user {user} has {} orders for {keys} keys: {orders}",
                    ids.len()
                ));
            }
        }
    }
    breaches.sort();
    let detail = format!("{} keys", orders.len());
    check_result("one order per idempotency key", detail, breaches)
}

/// No order was answered to two buyers or to a wrong buyer.
pub(super) fn one_winner(evidence: &Evidence) -> Check {
    let mut winners: HashMap<Uuid, HashSet<(u32, u32)>> = HashMap::new();
    let mut breaches = Vec::new();
    for sample in evidence.buys() {
        let Some(order) = sample.answer.order else {
            continue;
        };
        let planned = sample.planned;
        winners
            .entry(order)
            .or_default()
            .insert((planned.user, planned.number));
        if sample.answer.foreign {
            let user = evidence.user(planned.user);
            breaches.push(format!(
                "order {order}, answered to user {user}, does not match the request"
            ));
        }
    }
    for (order, buyers) in &winners {
        if buyers.len() > 1 {
            let mut names: Vec<&str> = buyers
                .iter()
                .map(|(user, _)| evidence.user(*user))
                .collect();
            names.sort_unstable();
            breaches.push(format!(
                "order {order} was answered to users {}",
                names.join(", ")
            ));
        }
    }
    breaches.sort();
    let detail = format!("{} orders", winners.len());
    check_result("every order has one winner", detail, breaches)
}

/// Every 201 can be read over HTTP, by its buyer, after the load.
pub(super) fn readable(evidence: &Evidence) -> Check {
    let breaches = evidence
        .read_back
        .iter()
        .filter(|read| read.status != 200 || !read.same)
        .map(|read| {
            let user = evidence.user(read.user);
            format!("order {}, read by user {user}: {}", read.order, read.status)
        })
        .collect();
    let won = evidence.buys().filter(|sample| sample.answer.won()).count();
    let detail = format!("{} of {won} orders read", evidence.read_back.len());
    check_result("every order of a 201 can be read", detail, breaches)
}

/// A repeated key returns the first order, sold out or not.
pub(super) fn replayed(evidence: &Evidence) -> Check {
    let breaches = evidence
        .replays
        .iter()
        .filter(|replay| replay.again != Some(replay.first) || !replay.flagged)
        .map(|replay| {
            let again = replay
                .again
                .map_or("no order".to_owned(), |id| format!("order {id}"));
            format!(
                "key {} of user {}: first order {}, again {again} ({}{})",
                replay.key,
                evidence.user(replay.user),
                replay.first,
                replay.status,
                if replay.flagged {
                    ""
                } else {
                    ", not marked as a replay"
                }
            )
        })
        .collect();
    let detail = format!("{} purchases sent again", evidence.replays.len());
    check_result("a repeated key returns the same order", detail, breaches)
}

/// Held orders are pending, then confirmed; `None` where none was confirmed.
pub(super) fn confirmed(evidence: &Evidence) -> Option<Check> {
    if evidence.confirmed.is_empty() {
        return None;
    }
    let breach = |order: &Confirmed| {
        let id = order.order;
        if order.was != "pending" {
            return Some(format!("order {id} was {} instead of pending", order.was));
        }
        let confirmed = order.status == 200 && order.now == "confirmed";
        (!confirmed).then(|| format!("order {id} is {} ({})", order.now, order.status))
    };
    let breaches = evidence.confirmed.iter().filter_map(breach).collect();
    let detail = format!("{} orders held and confirmed", evidence.confirmed.len());
    Some(check_result(
        "a held order is pending, then confirmed",
        detail,
        breaches,
    ))
}

fn list(ids: &HashSet<Uuid>) -> String {
    let mut ids: Vec<String> = ids.iter().map(ToString::to_string).collect();
    ids.sort();
    ids.join(", ")
}
