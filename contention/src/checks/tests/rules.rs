//! The checks of waitlist, limits, faults and database, and the bound on shown breaches.

use super::*;
use crate::{
    evidence::FaultEvidence,
    faults::{flood::Flood, holder::Paused},
    record::BadRequestResult,
};

#[test]
fn a_shared_waitlist_position_and_a_gap_are_found() {
    let waits = |position| Answer {
        status: 202,
        code: AnswerCode::Waitlisted,
        position: Some(position),
        ..Answer::default()
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
fn a_missing_or_misdirected_rate_limit_is_found() {
    let mut evidence = sound();
    evidence.greedy = Some(3);
    assert_broken(&evidence, "rate-limited", &["u3"]);
    evidence.samples[2] = buy(2, refused(429, Code::RateLimited));
    assert_broken(&evidence, "rate-limited", &["user u2 was rate-limited"]);
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
fn lasting_effects_of_a_fault_are_found() {
    let mut evidence = sound();
    evidence.faults = FaultEvidence {
        lock: Some([true, true, false]),
        read_only: Some([false, true]),
        paused: Some(Paused {
            pauses: 9,
            with_lock: 1,
            fence_rejected: 0,
            passed_by: 0,
            must_reject: true,
        }),
        flood: Some(Flood {
            opened: 9,
            refused: 0,
            failed: 3,
            probes: 5,
            unanswered: 2,
        }),
        won_afterwards: Some(0),
    };
    assert_broken(&evidence, "the lock comes back", &["no lock was taken"]);
    assert_broken(&evidence, "only reads is noticed", &["no node noticed"]);
    assert_broken(&evidence, "the fence rejects", &["rejected nothing"]);
    assert_broken(&evidence, "turns nobody away", &["no batch passed"]);
    evidence.samples[2] = buy(2, refused(400, Code::HighDemand));
    assert_broken(
        &evidence,
        "turns nobody away",
        &["user u2 was answered high_demand"],
    );
    assert_broken(
        &evidence,
        "event streams leave",
        &["reached no bound", "3 event streams", "2 of 5 probes"],
    );
    assert_broken(&evidence, "sales go on", &["no order was won"]);
}

#[test]
fn a_broken_database_invariant_is_found() {
    let mut evidence = sound();
    evidence.invariants.push((
        "conservation",
        vec!["product contention-x-1: 3 of 2".to_owned()],
    ));
    assert_broken(&evidence, "the database invariants", &["contention-x-1"]);
}

#[test]
fn the_number_of_shown_breaches_is_bounded() {
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
