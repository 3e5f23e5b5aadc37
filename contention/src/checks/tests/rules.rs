//! The checks of waitlist, limits, faults and the database, and how much of a breach is shown.

use super::*;
use crate::{evidence::FaultEvidence, faults::holder::Paused, record::BadRequestResult};

#[test]
fn two_at_one_place_of_the_waitlist_and_a_gap_are_found() {
    let waits = |position| Answer {
        position: Some(position),
        ..refused(202, "waitlisted")
    };
    let mut evidence = sound();
    evidence.samples[2] = buy(2, waits(1));
    evidence.samples[3] = buy(3, waits(2));
    assert_eq!(broken(&evidence).0, Vec::<String>::new());
    evidence.samples[3] = buy(3, waits(1));
    assert_broken(&evidence, "waitlist", &["u2, u3"]);
    evidence.samples[3] = buy(3, waits(3));
    assert_broken(&evidence, "waitlist", &["after position 1 comes 3"]);
}

#[test]
fn a_limit_that_is_not_kept_or_meets_others_is_found() {
    let mut evidence = sound();
    evidence.greedy = Some(3);
    assert_broken(&evidence, "slowed down", &["u3"]);
    evidence.samples[2] = buy(2, refused(429, "rate_limited"));
    assert_broken(&evidence, "slowed down", &["user u2 was slowed down"]);
}

#[test]
fn a_wrong_answer_to_a_bad_request_is_found() {
    let mut evidence = sound();
    evidence.bad.push(BadRequestResult {
        case: "no token",
        expected: (401, "unauthenticated"),
        got: (500, "internal".to_owned()),
        flaw: None,
    });
    assert_broken(
        &evidence,
        "bad request",
        &["no token: 500 internal instead of 401"],
    );
}

#[test]
fn a_fault_that_left_its_mark_is_found() {
    let mut evidence = sound();
    evidence.faults = FaultEvidence {
        lock: Some([true, true, false]),
        paused: Some(Paused {
            pauses: 9,
            met: 1,
            fence_rejected: 0,
            must_reject: true,
        }),
        won_afterwards: Some(0),
    };
    assert_broken(&evidence, "the lock comes back", &["no lock was taken"]);
    assert_broken(&evidence, "fenced off", &["rejected nothing"]);
    assert_broken(&evidence, "sales go on", &["no order was won"]);
}

#[test]
fn a_breach_of_the_database_s_own_is_found() {
    let mut evidence = sound();
    evidence.invariants.push((
        "conservation",
        vec!["product contention-x-1: 3 of 2".to_owned()],
    ));
    assert_broken(&evidence, "the database itself", &["contention-x-1"]);
}

#[test]
fn no_more_breaches_are_shown_than_anybody_reads() {
    let check = check_result(
        "p",
        String::new(),
        (0..50).map(|number| number.to_string()).collect(),
    );
    assert_eq!(check.breaches.len(), SHOWN_MAX);
    assert_eq!(
        check.breaches.last().map(String::as_str),
        Some("and 31 more")
    );
}
