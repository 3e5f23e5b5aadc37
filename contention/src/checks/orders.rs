//! A yes is a yes: every order that was told is in the books, every order in the books was told,
//! once, to its buyer.

use std::collections::{HashMap, HashSet};

use uuid::Uuid;

use super::{Confirmed, Evidence, verdict};
use crate::report::Check;

/// Every 201 is in the books, under its buyer's name.
pub(super) fn kept(evidence: &Evidence) -> Check {
    let books: HashMap<Uuid, &str> = evidence
        .books
        .iter()
        .flat_map(|book| &book.orders)
        .map(|order| (order.id, order.user_id.as_str()))
        .collect();
    let mut breaches = Vec::new();
    let mut told = 0_u64;
    for shot in evidence.buys().filter(|shot| shot.answer.won()) {
        told += 1;
        let user = evidence.user(shot.planned.user);
        match shot.answer.order {
            None => breaches.push(format!("user {user} was answered 201 without an order")),
            Some(order) => match books.get(&order) {
                None => breaches.push(format!(
                    "order {order}, answered 201 to user {user}, is not in the books"
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
    let detail = format!("{told} orders answered 201, {} in the books", books.len());
    verdict("every 201 is in the books", detail, breaches)
}

/// Nobody pays for an order that they do not know of.
pub(super) fn told(evidence: &Evidence) -> Check {
    let told: HashSet<Uuid> = evidence
        .buys()
        .filter_map(|shot| shot.answer.order)
        .collect();
    let mut last_answers: HashMap<&str, &'static str> = HashMap::new();
    let mut unsure: HashSet<&str> = HashSet::new();
    for shot in evidence.buys() {
        let user = evidence.user(shot.planned.user);
        last_answers.insert(user, shot.answer.code);
        // The client knows that it does not know; with its key it may ask again.
        if shot.answer.code == "outcome_unknown" {
            unsure.insert(user);
        }
    }
    let mut breaches = Vec::new();
    let mut orders = 0_u64;
    for order in evidence.books.iter().flat_map(|book| &book.orders) {
        orders += 1;
        let user = order.user_id.as_str();
        let answer = last_answers.get(user).copied().unwrap_or("nothing");
        // Who waits is offered an order when there is one.
        if told.contains(&order.id) || unsure.contains(user) || answer == "waitlisted" {
            continue;
        }
        breaches.push(format!(
            "order {} of user {user} was never told: the last answer was {answer}",
            order.id
        ));
    }
    let detail = format!("{orders} orders in the books");
    verdict(
        "every order in the books was told to its buyer",
        detail,
        breaches,
    )
}

/// One key, one order, however often it is sent.
pub(super) fn one_per_key(evidence: &Evidence) -> Check {
    let mut orders: HashMap<u32, (u32, HashSet<Uuid>)> = HashMap::new();
    let mut sent: HashMap<(&str, usize), HashSet<u32>> = HashMap::new();
    for shot in evidence.buys() {
        let planned = shot.planned;
        let known = orders
            .entry(planned.number)
            .or_insert((planned.user, HashSet::new()));
        known.1.extend(shot.answer.order);
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
                "key {number} of user {user} brought {} orders: {}",
                ids.len(),
                list(ids)
            )
        })
        .collect();
    for (product, book) in evidence.books.iter().enumerate() {
        let mut of_user: HashMap<&str, HashSet<Uuid>> = HashMap::new();
        for order in &book.orders {
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
    verdict("one order per idempotency key", detail, breaches)
}

/// No two buyers were told the same order, and nobody somebody else's.
pub(super) fn one_winner(evidence: &Evidence) -> Check {
    let mut winners: HashMap<Uuid, HashSet<(u32, u32)>> = HashMap::new();
    let mut breaches = Vec::new();
    for shot in evidence.buys() {
        let Some(order) = shot.answer.order else {
            continue;
        };
        let planned = shot.planned;
        winners
            .entry(order)
            .or_default()
            .insert((planned.user, planned.number));
        if shot.answer.foreign {
            let user = evidence.user(planned.user);
            breaches.push(format!(
                "order {order}, answered to user {user}, is not what they asked for"
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
    verdict("every order has one winner", detail, breaches)
}

/// Over HTTP, by its buyer, after the load.
pub(super) fn found_again(evidence: &Evidence) -> Check {
    let breaches = evidence
        .read_back
        .iter()
        .filter(|read| read.status != 200 || !read.same)
        .map(|read| {
            let user = evidence.user(read.user);
            format!(
                "order {}, asked for by user {user}: {}",
                read.order, read.status
            )
        })
        .collect();
    let won = evidence.buys().filter(|shot| shot.answer.won()).count();
    let detail = format!("{} of {won} orders asked for", evidence.read_back.len());
    verdict("every 201 is found again", detail, breaches)
}

/// The same key again brings the first answer, sold out or not.
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
    verdict("a repeated key brings the same order", detail, breaches)
}

/// Held until payment, then confirmed; none where nothing was to be confirmed.
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
    Some(verdict(
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
