//! The checks of the rate limit, of the limit per user, and of bad requests.

use std::collections::HashMap;

use super::{Evidence, check_result};
use crate::report::Check;

/// `RATE_LIMIT_PER_MINUTE` of a service that the runner starts.
const LIMIT_PER_MINUTE: u64 = 1_000;

/// The greedy user gets 429, no other user does; `None` without a greedy user.
pub(super) fn greedy_alone(evidence: &Evidence) -> Option<Check> {
    let greedy = evidence.greedy?;
    let limited = |sample: &&crate::record::Sample| sample.answer.status == 429;
    let (of_greedy, of_others): (Vec<_>, Vec<_>) = evidence
        .buys()
        .filter(limited)
        .partition(|sample| sample.planned.user == greedy);
    let mut breaches: Vec<String> = of_others
        .iter()
        .map(|sample| {
            format!(
                "user {} was slowed down",
                evidence.user(sample.planned.user)
            )
        })
        .collect();
    if of_greedy.is_empty() {
        breaches.push(format!(
            "user {} was never slowed down",
            evidence.user(greedy)
        ));
    }
    let without = of_greedy
        .iter()
        .filter(|sample| sample.answer.retry_after.is_none())
        .count();
    if without > 0 {
        breaches.push(format!("{without} of the 429 have no Retry-After"));
    }
    let sent = evidence
        .buys()
        .filter(|sample| sample.planned.user == greedy)
        .count();
    let others = evidence
        .buys()
        .filter(|sample| sample.planned.user != greedy)
        .count();
    breaches.extend(too_many(evidence, sent - of_greedy.len()));
    let detail = format!(
        "{} of {sent} requests of one user refused, none of {others} of the others",
        of_greedy.len()
    );
    Some(check_result(
        "one user over the limit is slowed down, and nobody else",
        detail,
        breaches,
    ))
}

/// A minute's requests at once, refilled while time goes by; over all nodes together.
fn too_many(evidence: &Evidence, let_through: usize) -> Option<String> {
    if evidence.invariants.is_empty() {
        // The service of others may have another limit.
        return None;
    }
    let last = evidence.samples.last().map(|sample| sample.answered);
    let seconds = last.unwrap_or_default().as_secs() + 1;
    let refilled = LIMIT_PER_MINUTE * seconds / 60 + 1;
    let most = usize::try_from(LIMIT_PER_MINUTE + refilled).unwrap_or(usize::MAX);
    (let_through > most)
        .then(|| format!("{let_through} requests of one user were let through, not {most}"))
}

/// Every case of the catalogue is answered as the contract requires; `None` where none was sent.
pub(super) fn bad_requests(evidence: &Evidence) -> Option<Check> {
    if evidence.bad.is_empty() {
        return None;
    }
    let mut breaches = Vec::new();
    for outcome in &evidence.bad {
        let (status, code) = outcome.expected;
        let case = outcome.case;
        if outcome.got != (status, code.to_owned()) {
            let (got, got_code) = &outcome.got;
            breaches.push(format!(
                "{case}: {got} {got_code} instead of {status} {code}"
            ));
        } else if let Some(flaw) = outcome.flaw {
            breaches.push(format!("{case}: the answer {flaw}"));
        }
    }
    let detail = format!("{} bad requests", evidence.bad.len());
    Some(check_result(
        "every bad request gets its status and code",
        detail,
        breaches,
    ))
}

/// `max_per_user`: no user has more units, and a user who was refused for it has all of them.
pub(super) fn per_user(evidence: &Evidence) -> Option<Check> {
    let limit = evidence.max_per_user?;
    let mut breaches = Vec::new();
    let mut most = 0;
    for (offer, row) in evidence.offers.iter().zip(&evidence.rows) {
        let mut has: HashMap<&str, u32> = HashMap::new();
        for order in row.orders.iter().filter(|order| order.is_live()) {
            *has.entry(&order.user_id).or_default() += order.quantity;
        }
        for (user, units) in &has {
            most = most.max(*units);
            if *units > limit {
                let sku = &offer.sku;
                breaches.push(format!(
                    "user {user} has {units} units of {sku}, not {limit}"
                ));
            }
        }
        for sample in evidence
            .buys()
            .filter(|sample| sample.answer.code == "purchase_limit")
        {
            let user = evidence.user(sample.planned.user);
            let units = has.get(user).copied().unwrap_or_default();
            if units + evidence.quantity <= limit {
                breaches.push(format!(
                    "user {user} was refused at {units} units of {limit}"
                ));
            }
        }
    }
    breaches.sort();
    breaches.dedup();
    let detail = format!("{limit} a user, {most} at most");
    Some(check_result(
        "nobody has more than the limit, nobody was refused below it",
        detail,
        breaches,
    ))
}
