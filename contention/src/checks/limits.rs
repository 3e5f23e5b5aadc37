//! What is too much and what is wrong is refused, as the contract says, and only that.

use super::{Evidence, verdict};
use crate::report::Check;

/// `RATE_LIMIT_PER_MINUTE` of a service that the runner starts.
const LIMIT_PER_MINUTE: u64 = 1_000;

/// The greedy user is told to slow down, nobody else is; none where nobody is greedy.
pub(super) fn greedy_alone(evidence: &Evidence) -> Option<Check> {
    let greedy = evidence.greedy?;
    let limited = |shot: &&crate::record::Shot| shot.answer.status == 429;
    let (of_greedy, of_others): (Vec<_>, Vec<_>) = evidence
        .buys()
        .filter(limited)
        .partition(|shot| shot.planned.user == greedy);
    let mut breaches: Vec<String> = of_others
        .iter()
        .map(|shot| {
            format!(
                "user {} was told to slow down",
                evidence.user(shot.planned.user)
            )
        })
        .collect();
    if of_greedy.is_empty() {
        breaches.push(format!(
            "user {} was never told to slow down",
            evidence.user(greedy)
        ));
    }
    let without = of_greedy
        .iter()
        .filter(|shot| shot.answer.retry_after.is_none())
        .count();
    if without > 0 {
        breaches.push(format!("{without} of the 429 have no Retry-After"));
    }
    let sent = evidence
        .buys()
        .filter(|shot| shot.planned.user == greedy)
        .count();
    let others = evidence
        .buys()
        .filter(|shot| shot.planned.user != greedy)
        .count();
    breaches.extend(too_many(evidence, sent - of_greedy.len()));
    let detail = format!(
        "{} of {sent} requests of one user refused, none of {others} of the others",
        of_greedy.len()
    );
    Some(verdict(
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
    let last = evidence.shots.last().map(|shot| shot.answered);
    let seconds = last.unwrap_or_default().as_secs() + 1;
    let refilled = LIMIT_PER_MINUTE * seconds / 60 + 1;
    let most = usize::try_from(LIMIT_PER_MINUTE + refilled).unwrap_or(usize::MAX);
    (let_through > most)
        .then(|| format!("{let_through} requests of one user were let through, not {most}"))
}

/// Every case of the catalogue is answered as the contract says; none where none was sent.
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
    Some(verdict(
        "every bad request gets its status and code",
        detail,
        breaches,
    ))
}
