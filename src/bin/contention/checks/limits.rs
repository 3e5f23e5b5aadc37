//! What is too much and what is wrong is refused, as the contract says, and only that.

use super::{Evidence, verdict};
use crate::report::Check;

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
    let detail = format!(
        "{} of {sent} requests of one user refused, none of {others} of the others; \
         a limit over all nodes together is not there yet, so that is not checked",
        of_greedy.len()
    );
    Some(verdict(
        "one user over the limit is slowed down, and nobody else",
        detail,
        breaches,
    ))
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
