//! Each check finds its breach and names the ids.

use std::time::Duration;

use flash_sale::domain::{Code, OrderStatus};
use uuid::Uuid;

use super::*;
use crate::{
    evidence::{ReadBack, Replay},
    record::{Answer, Planned, RequestKind, Sample},
    report::codes::AnswerCode,
    shop::{Offer, OrderRow, ProductRows},
};

mod rules;

fn id(number: u128) -> Uuid {
    Uuid::from_u128(number)
}

fn buy(number: u32, answer: Answer) -> Sample {
    let planned = Planned {
        user: number,
        product: 0,
        kind: RequestKind::Buy,
        number,
    };
    Sample {
        planned,
        attempt: 0,
        node: 0,
        intended: Duration::ZERO,
        sent: Duration::ZERO,
        answered: Duration::from_millis(10),
        answer,
    }
}

fn won(order: u128) -> Answer {
    Answer {
        status: 201,
        code: AnswerCode::Created,
        order: Some(id(order)),
        ..Answer::default()
    }
}

fn refused(status: u16, code: Code) -> Answer {
    Answer {
        status,
        code: AnswerCode::Refused(code),
        ..Answer::default()
    }
}

fn entry(order: u128, user: &str) -> OrderRow {
    OrderRow {
        id: id(order),
        user_id: user.to_owned(),
        quantity: 1,
        status: OrderStatus::Confirmed,
    }
}

/// Two units and four buyers; users 0 and 1 have orders 100 and 101.
fn sound() -> Evidence {
    let offer = Offer {
        id: id(1),
        sku: "contention-x-1".to_owned(),
        stock: 2,
        is_yardstick: false,
        order: bytes::Bytes::new(),
        look: String::new(),
        detail: String::new(),
    };
    let row = ProductRows {
        stock: 0,
        stock_total: 2,
        orders: vec![entry(100, "u0"), entry(101, "u1")],
    };
    Evidence {
        offers: vec![offer],
        rows: vec![row],
        quantity: 1,
        users: (0..4).map(|user| format!("u{user}")).collect(),
        samples: vec![
            buy(0, won(100)),
            buy(1, won(101)),
            buy(2, refused(409, Code::SoldOut)),
            buy(3, refused(409, Code::SoldOut)),
        ],
        is_full_service: true,
        ..Evidence::default()
    }
}

/// The broken promises, and the texts of all breaches.
fn broken(evidence: &Evidence) -> (Vec<String>, String) {
    let broken: Vec<Check> = all(evidence, &Expect::default())
        .into_iter()
        .filter(|check| !check.held)
        .collect();
    let breaches: Vec<_> = broken
        .iter()
        .flat_map(|check| check.breaches.clone())
        .collect();
    (
        broken.into_iter().map(|check| check.promise).collect(),
        breaches.join("\n"),
    )
}

#[track_caller]
fn assert_broken(evidence: &Evidence, promise: &str, ids: &[&str]) {
    let (promises, breaches) = broken(evidence);
    assert!(
        promises.iter().any(|broken| broken.contains(promise)),
        "{promises:?}"
    );
    for wanted in ids {
        assert!(
            breaches.contains(wanted),
            "{wanted} is not named:\n{breaches}"
        );
    }
}

#[test]
fn a_sound_run_holds() {
    assert_eq!(broken(&sound()).0, Vec::<String>::new());
}

#[test]
fn an_oversold_unit_is_found() {
    let mut evidence = sound();
    evidence.samples[2] = buy(2, won(102));
    evidence.rows[0].orders.push(entry(102, "u2"));
    assert_broken(
        &evidence,
        "sold as many as possible",
        &[&id(1).to_string(), &id(102).to_string()],
    );
    assert_broken(&evidence, "conservation", &["contention-x-1"]);
}

#[test]
fn an_unsold_unit_is_found() {
    let mut evidence = sound();
    evidence.samples[1] = buy(1, refused(409, Code::SoldOut));
    evidence.rows[0].orders.pop();
    evidence.rows[0].stock = 1;
    assert_broken(
        &evidence,
        "sold as many as possible",
        &[&id(1).to_string(), "u1"],
    );
}

#[test]
fn an_unexpected_restock_is_found() {
    let mut evidence = sound();
    evidence.rows[0].stock_total = 3;
    evidence.rows[0].stock = 1;
    assert_broken(&evidence, "conservation", &["contention-x-1"]);
}

#[test]
fn a_lost_order_is_found() {
    let mut evidence = sound();
    evidence.rows[0].orders[1] = entry(999, "u1");
    assert_broken(
        &evidence,
        "every 201 is in the database",
        &[&id(101).to_string(), "u1"],
    );
    assert_broken(
        &evidence,
        "was answered to its buyer",
        &[&id(999).to_string()],
    );
}

#[test]
fn a_missing_answer_is_found() {
    let mut evidence = sound();
    evidence.samples[1] = buy(1, Answer::default());
    assert_broken(
        &evidence,
        "every request is answered",
        &["order 1 of user u1"],
    );
    assert_broken(
        &evidence,
        "was answered to its buyer",
        &[&id(101).to_string(), "u1"],
    );
}

#[test]
fn an_order_with_two_winners_is_found() {
    let mut evidence = sound();
    evidence.samples[2] = buy(2, won(101));
    assert_broken(&evidence, "one winner", &[&id(101).to_string(), "u1, u2"]);
}

#[test]
fn a_key_with_two_orders_is_found() {
    let mut evidence = sound();
    let mut again = buy(0, won(102));
    again.attempt = 1;
    evidence.samples.push(again);
    assert_broken(
        &evidence,
        "one order per idempotency key",
        &[&id(100).to_string(), &id(102).to_string()],
    );
}

#[test]
fn a_replay_of_another_order_is_found() {
    let mut evidence = sound();
    evidence.replays.push(Replay {
        user: 0,
        key: "k-0".to_owned(),
        first: id(100),
        status: 201,
        again: Some(id(103)),
        flagged: true,
    });
    assert_broken(
        &evidence,
        "a repeated key",
        &["k-0", &id(100).to_string(), &id(103).to_string()],
    );
}

#[test]
fn an_unreadable_order_is_found() {
    let mut evidence = sound();
    evidence.read_back.push(ReadBack {
        order: id(100),
        user: 0,
        status: 404,
        same: false,
    });
    assert_broken(&evidence, "can be read", &[&id(100).to_string(), "u0"]);
}

#[test]
fn a_server_error_and_a_slow_answer_are_found() {
    let mut evidence = sound();
    evidence.samples[2] = buy(2, refused(500, Code::Internal));
    evidence.samples[3].answered = Duration::from_mins(1);
    assert_broken(&evidence, "no 5xx", &["u2", "500"]);
    assert_broken(&evidence, "time limit", &["u3"]);
    assert_broken(&evidence, "an expected code", &["u2", "internal"]);
}
