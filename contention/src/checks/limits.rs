//! Checks of the rate limit, the limit per user, and bad requests.

use std::collections::HashMap;

use flash_sale::domain::Code;

use super::{Evidence, check_result};
use crate::report::{Check, codes::AnswerCode};

/// The default of `RATE_LIMIT_PER_MINUTE`, which a started service uses.
const LIMIT_PER_MINUTE: u64 = 1_000;

/// The greedy user gets 429 and no other user does; `None` without a greedy user.
pub(super) fn rate_limit(evidence: &Evidence) -> Option<Check> {
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
                "user {} was rate-limited",
                evidence.user(sample.planned.user)
            )
        })
        .collect();
    if of_greedy.is_empty() {
        breaches.push(format!(
            "user {} was never rate-limited",
            evidence.user(greedy)
        ));
    }
    let without = of_greedy
        .iter()
        .filter(|sample| sample.answer.retry_after.is_none())
        .count();
    if without > 0 {
        breaches.push(format!("{without} answers 429 have no Retry-After"));
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
        "{} of {sent} requests of the user over the limit refused, none of {others} of other users",
        of_greedy.len()
    );
    Some(check_result(
        "only the user over the limit is rate-limited",
        detail,
        breaches,
    ))
}

/// The limit allows a minute's requests at once, refilled over time, for all nodes together.
fn too_many(evidence: &Evidence, admitted: usize) -> Option<String> {
    if evidence.invariants.is_empty() {
        // An existing service may have another limit.
        return None;
    }
    let last = evidence.samples.last().map(|sample| sample.answered);
    let seconds = last.unwrap_or_default().as_secs() + 1;
    let refilled = LIMIT_PER_MINUTE * seconds / 60 + 1;
    let most = usize::try_from(LIMIT_PER_MINUTE + refilled).unwrap_or(usize::MAX);
    (admitted > most)
        .then(|| format!("{admitted} requests of one user were admitted, more than {most}"))
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

/// `max_per_user`: no user has more units, and only users at the limit are refused for it.
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
                    "user {user} has {units} units of {sku}, more than {limit}"
                ));
            }
        }
        for sample in evidence
            .buys()
            .filter(|sample| sample.answer.code == AnswerCode::Refused(Code::PurchaseLimit))
        {
            let user = evidence.user(sample.planned.user);
            let units = has.get(user).copied().unwrap_or_default();
            if units + evidence.quantity <= limit {
                breaches.push(format!(
                    "user {user} was refused with {units} units of {limit}"
                ));
            }
        }
    }
    breaches.sort();
    breaches.dedup();
    let detail = format!("limit {limit} a user, the most is {most}");
    Some(check_result(
        "no user exceeds the limit per user, and only users at it are refused",
        detail,
        breaches,
    ))
}
