//! Each check finds the breach that it is for, and names it by its ids.

use std::time::Duration;

use flash_sale::domain::OrderStatus;
use uuid::Uuid;

use super::*;
use crate::{
    evidence::{ReadBack, Replay},
    record::{Answer, Planned, RequestKind, Sample},
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
        intended: Duration::ZERO,
        sent: Duration::ZERO,
        answered: Duration::from_millis(10),
        answer,
    }
}

fn won(order: u128) -> Answer {
    Answer {
        status: 201,
        code: "created",
        order: Some(id(order)),
        ..Answer::default()
    }
}

fn refused(status: u16, code: &'static str) -> Answer {
    Answer {
        status,
        code,
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

/// Two units, four buyers, users 0 and 1 won orders 100 and 101.
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
            buy(2, refused(409, "sold_out")),
            buy(3, refused(409, "sold_out")),
        ],
        is_full_service: true,
        ..Evidence::default()
    }
}

/// The promises that are broken, and the text of all breaches.
fn broken(evidence: &Evidence) -> (Vec<String>, String) {
    let broken: Vec<Check> = all(evidence, &Expect::default())
        .into_iter()
        .filter(|check| !check.held)
        .collect();
    let said = broken
        .iter()
        .flat_map(|check| check.breaches.clone())
        .collect::<Vec<_>>();
    (
        broken.into_iter().map(|check| check.promise).collect(),
        said.join("\n"),
    )
}

#[track_caller]
fn assert_broken(evidence: &Evidence, promise: &str, ids: &[&str]) {
    let (promises, said) = broken(evidence);
    assert!(
        promises.iter().any(|broken| broken.contains(promise)),
        "{promises:?}"
    );
    for wanted in ids {
        assert!(said.contains(wanted), "{wanted} is not named:\n{said}");
    }
}

#[test]
fn a_sound_run_holds() {
    assert_eq!(broken(&sound()).0, Vec::<String>::new());
}

#[test]
fn one_unit_too_many_is_found() {
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
fn a_unit_kept_back_is_found() {
    let mut evidence = sound();
    evidence.samples[1] = buy(1, refused(409, "sold_out"));
    evidence.rows[0].orders.pop();
    evidence.rows[0].stock = 1;
    assert_broken(
        &evidence,
        "sold as many as possible",
        &[&id(1).to_string(), "u1"],
    );
}

#[test]
fn a_restock_that_nobody_made_is_found() {
    let mut evidence = sound();
    evidence.rows[0].stock_total = 3;
    evidence.rows[0].stock = 1;
    assert_broken(&evidence, "conservation", &["contention-x-1"]);
}

#[test]
fn an_order_that_is_gone_is_found() {
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
fn an_answer_that_never_came_is_found() {
    let mut evidence = sound();
    evidence.samples[1] = buy(1, refused(0, "no_answer"));
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
fn one_order_for_two_is_found() {
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
fn an_order_that_is_not_found_again_is_found() {
    let mut evidence = sound();
    evidence.read_back.push(ReadBack {
        order: id(100),
        user: 0,
        status: 404,
        same: false,
    });
    assert_broken(&evidence, "found again", &[&id(100).to_string(), "u0"]);
}

#[test]
fn a_server_error_and_a_slow_answer_are_found() {
    let mut evidence = sound();
    evidence.samples[2] = buy(2, refused(500, "internal"));
    evidence.samples[3].answered = Duration::from_mins(1);
    assert_broken(&evidence, "no 5xx", &["u2", "500"]);
    assert_broken(&evidence, "time limit", &["u3"]);
    assert_broken(&evidence, "to be expected", &["u2", "internal"]);
}
