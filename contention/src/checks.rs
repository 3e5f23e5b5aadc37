//! The checks of every promise: pure functions from the evidence of a run to check results.
//!
//! A breach names the ids that it concerns, so that it can be looked up in the database.

use crate::{
    evidence::Evidence,
    report::Check,
    scenario::{Expect, Sold},
};

mod answers;
mod database;
mod faults;
mod holds;
mod limits;
mod orders;
mod stock;
#[cfg(test)]
mod tests;
mod waitlist;

/// Breaches that a check result shows; the last line says how many more there are.
const SHOWN_MAX: usize = 20;

/// Makes every check that applies to the run.
pub(crate) fn all(evidence: &Evidence, expect: &Expect) -> Vec<Check> {
    let mut checks = vec![
        stock::sold(evidence, expect),
        stock::conserved(evidence),
        orders::kept(evidence),
        orders::told(evidence),
        answers::answered(evidence, expect),
        answers::codes(evidence, expect),
        answers::server_errors(evidence, expect),
        answers::in_time(evidence, expect),
    ];
    if evidence.is_full_service {
        checks.extend([
            orders::one_per_key(evidence),
            orders::one_winner(evidence),
            orders::found_again(evidence),
            orders::replayed(evidence),
        ]);
    }
    checks.extend(waitlist::positions(evidence));
    checks.extend(limits::greedy_alone(evidence));
    checks.extend(limits::bad_requests(evidence));
    checks.extend(faults::all(evidence));
    checks.extend(orders::confirmed(evidence));
    checks.extend(holds::inherited(evidence));
    checks.extend(holds::charged_once(evidence));
    checks.extend(limits::per_user(evidence));
    if expect.refusals_faster {
        checks.push(answers::refusals_faster(evidence));
    }
    checks.extend(database::invariants(evidence));
    checks
}

/// The result of a check; it holds when there is no breach.
fn check_result(promise: &str, detail: String, mut breaches: Vec<String>) -> Check {
    let held = breaches.is_empty();
    if breaches.len() > SHOWN_MAX {
        let more = breaches.len() - (SHOWN_MAX - 1);
        breaches.truncate(SHOWN_MAX - 1);
        breaches.push(format!("and {more} more"));
    }
    Check {
        promise: promise.to_owned(),
        held,
        detail,
        breaches,
    }
}

/// Whether the load ends with neither stock nor demand used up.
fn is_open_ended(expect: &Expect) -> bool {
    expect.sold == Sold::Any
}
