//! Nodes whose clocks are half a minute wrong, either way, sell like the others.

use std::{process::Command, time::SystemTime};

use chrono::{DateTime, TimeDelta, Utc};
use rstest::rstest;
use serde_json::{Value, json};
use uuid::Uuid;

use crate::support::{
    SOON, eventually,
    front::Front,
    in_seconds,
    shop::{Backend, Shop},
    when,
};

/// Buyers see no larger difference between two nodes.
const APART: TimeDelta = TimeDelta::seconds(1);
/// A hold ends no later than this after its time, on a busy machine.
const LATE: TimeDelta = TimeDelta::seconds(3);

fn now() -> DateTime<Utc> {
    SystemTime::now().into()
}

fn time(order: &Value, field: &str) -> DateTime<Utc> {
    order[field].as_str().unwrap().parse().unwrap()
}

/// The environment of a process whose clock is wrong by so much. The monotonic clock stays right,
/// as it does on a machine with a wrong date.
fn wrong_by(offset: &str) -> Vec<(String, String)> {
    let environment = Command::new("faketime")
        .args(["-f", offset, "env"])
        .env("FAKETIME_DONT_FAKE_MONOTONIC", "1")
        .env("DONT_FAKE_MONOTONIC", "1")
        .output()
        .expect("faketime is installed: run ./scripts/test");
    let text = String::from_utf8(environment.stdout).unwrap();
    let shifts = |name: &str| {
        let names = ["FAKE", "PRELOAD", "DYLD"];
        // What the wrapper shares with its own child ends with that child.
        names.iter().any(|part| name.contains(part)) && name != "FAKETIME_SHARED"
    };
    let pairs = text.lines().filter_map(|line| line.split_once('='));
    let pairs = pairs.filter(|(name, _)| shifts(name));
    pairs
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .collect()
}

/// The first node's clock is right, the second's fast, the third's slow.
async fn shop() -> Shop {
    let mut shop = Shop::open(Backend::ThreeNodes).await;
    for (node, offset) in [(1, "+30s"), (2, "-30s")] {
        let right = shop.settings.clone();
        for (name, value) in wrong_by(offset) {
            shop.settings.set(&name, &value);
        }
        shop.restart(node).await;
        shop.settings = right;
    }
    shop
}

/// When the node first sold one.
async fn opens(front: Front, buyer: String, product: Uuid) -> (DateTime<Utc>, Value) {
    eventually("the sale begins", SOON, async || {
        let answer = front.buy(&buyer, product, 1).await;
        if answer.status != 201 {
            let early = ["not_on_sale", "high_demand"].contains(&&*answer.code());
            assert!(early, "{answer:?}");
            return None;
        }
        Some((now(), answer.json()))
    })
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_sale_opens_everywhere_at_once_and_its_holds_last_as_long() {
    let shop = shop().await;
    for (node, wrong) in shop.nodes.iter().zip([0, 30, -30]) {
        let answer = node.get("/health/live").send().await;
        let date = DateTime::parse_from_rfc2822(answer.header("date").unwrap()).unwrap();
        let off = date.to_utc() - now() - TimeDelta::seconds(wrong);
        assert!(off.abs() < TimeDelta::seconds(5), "the clock itself: {off}");
    }
    let starts_at = in_seconds(2);
    let terms = json!({ "starts_at": starts_at, "hold_seconds": 2 });
    let product = shop.nodes[1].product(30, terms).await;
    let starts_at: DateTime<Utc> = starts_at.parse().unwrap();

    let nodes = shop.nodes.iter().enumerate();
    let sales = nodes.map(|(number, node)| opens(node.front(), format!("buyer-{number}"), product));
    let sales = futures::future::join_all(sales).await;

    for (sold, order) in &sales {
        let late = *sold - starts_at;
        assert!(
            late > -TimeDelta::milliseconds(100) && late < APART,
            "{late}"
        );
        let hold = time(order, "expires_at") - *sold;
        assert!((hold - TimeDelta::seconds(2)).abs() < APART, "{hold}");
        assert!((time(order, "created_at") - *sold).abs() < APART, "{order}");
    }
    eventually("the holds end", SOON, async || {
        when(shop.ledger.product(product).await.stock == 30)
    })
    .await;
    let last = sales
        .iter()
        .map(|(_, order)| time(order, "expires_at"))
        .max();
    let late = now() - last.unwrap();
    assert!(
        late > -TimeDelta::milliseconds(100) && late < LATE,
        "{late}"
    );
    shop.assert_books(product).await;
}

/// Neither does a fast clock end somebody's hold, nor a slow one keep it.
#[rstest]
#[case::fast(1)]
#[case::slow(2)]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_wrong_clock_neither_ends_a_hold_nor_keeps_it(#[case] alone: usize) {
    let mut shop = shop().await;
    let product = shop
        .service()
        .product(2, json!({ "hold_seconds": 20 }))
        .await;
    let short = shop
        .service()
        .product(2, json!({ "hold_seconds": 1 }))
        .await;
    let held = shop.service().buy("ann", product, 1).await.success(201);
    let over = shop.service().buy("ann", short, 1).await.success(201);

    // From now on only the node with the wrong clock looks.
    for node in (0..3).filter(|node| *node != alone) {
        shop.nodes[node].process.kill();
    }
    let ended = eventually("the short hold ends", SOON, async || {
        let stock = shop.ledger.product(short).await.stock;
        (stock == 2).then(now)
    })
    .await;

    let late = ended - time(&over, "expires_at");
    assert!(
        late > -TimeDelta::milliseconds(100) && late < LATE,
        "{late}"
    );
    assert!(now() < time(&held, "expires_at"), "too slow to tell");
    assert_eq!(shop.ledger.product(product).await.stock, 1);
    shop.assert_books(product).await;
}
