//! Checks of every promise: pure functions from the evidence of a run to check results.
//!
//! A breach names its ids, so that it can be looked up in the database. A new check is a function in
//! the file of its subject below, a line in `all`, and a test in `checks/tests.rs`. A check that
//! only some scenarios ask for also needs a field in `Expect` (`scenario.rs`).

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

/// Lines of breaches in a check result at most; the last line counts the rest.
const SHOWN_MAX: usize = 20;

/// Runs every check that applies to the run.
pub(crate) fn all(evidence: &Evidence, expect: &Expect) -> Vec<Check> {
    let mut checks = vec![
        stock::sold(evidence, expect),
        stock::conserved(evidence),
        orders::in_database(evidence),
        orders::answered_to_buyer(evidence),
        answers::answered(evidence, expect),
        answers::codes(evidence, expect),
        answers::server_errors(evidence, expect),
        answers::in_time(evidence, expect),
    ];
    if evidence.is_full_service {
        checks.extend([
            orders::one_per_key(evidence),
            orders::one_winner(evidence),
            orders::readable(evidence),
            orders::replayed(evidence),
        ]);
    }
    checks.extend(waitlist::positions(evidence));
    checks.extend(limits::rate_limit(evidence));
    checks.extend(limits::bad_requests(evidence));
    checks.extend(faults::all(evidence));
    checks.extend(orders::confirmed(evidence));
    checks.extend(holds::expired_units(evidence));
    checks.extend(holds::charged_once(evidence));
    checks.extend(holds::taken_over(evidence));
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

/// Whether the load ends before stock or demand is used up.
fn is_open_ended(expect: &Expect) -> bool {
    expect.sold == Sold::Any
}
