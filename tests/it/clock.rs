//! Clock skew: nodes whose clocks are 30 seconds fast or slow sell like the others.

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

/// The largest difference between two nodes that buyers observe.
const SKEW_MAX: TimeDelta = TimeDelta::seconds(1);
/// The longest delay of the end of a hold, on a busy machine.
const DELAY_MAX: TimeDelta = TimeDelta::seconds(3);

fn now() -> DateTime<Utc> {
    SystemTime::now().into()
}

fn time(order: &Value, field: &str) -> DateTime<Utc> {
    order[field].as_str().unwrap().parse().unwrap()
}

/// The environment of a process whose wall clock is wrong by `offset`. The monotonic clock stays
/// correct, as on a machine with a wrong date.
fn faketime_environment(offset: &str) -> Vec<(String, String)> {
    let environment = Command::new("faketime")
        .args(["-f", offset, "env"])
        .env("FAKETIME_DONT_FAKE_MONOTONIC", "1")
        .env("DONT_FAKE_MONOTONIC", "1")
        .output()
        .expect("faketime is installed: run ./scripts/test");
    let text = String::from_utf8(environment.stdout).unwrap();
    let is_faketime = |name: &str| {
        let names = ["FAKE", "PRELOAD", "DYLD"];
        // The wrapper's shared memory ends with its own child process.
        names.iter().any(|part| name.contains(part)) && name != "FAKETIME_SHARED"
    };
    let pairs = text.lines().filter_map(|line| line.split_once('='));
    let pairs = pairs.filter(|(name, _)| is_faketime(name));
    pairs
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .collect()
}

/// The first node's clock is correct, the second's fast, the third's slow.
async fn shop() -> Shop {
    let mut shop = Shop::open(Backend::ThreeNodes).await;
    for (node, offset) in [(1, "+30s"), (2, "-30s")] {
        let settings = shop.settings.clone();
        for (name, value) in faketime_environment(offset) {
            shop.settings.set(&name, &value);
        }
        shop.restart(node).await;
        shop.settings = settings;
    }
    shop
}

/// The time and the order of the node's first sale.
async fn first_sale(front: Front, buyer: String, product: Uuid) -> (DateTime<Utc>, Value) {
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
async fn all_nodes_open_a_sale_and_end_its_holds_on_time() {
    let shop = shop().await;
    for (node, offset) in shop.nodes.iter().zip([0, 30, -30]) {
        let answer = node.get("/health/live").send().await;
        let date = DateTime::parse_from_rfc2822(answer.header("date").unwrap()).unwrap();
        let error = date.to_utc() - now() - TimeDelta::seconds(offset);
        assert!(
            error.abs() < TimeDelta::seconds(5),
            "difference to the configured offset: {error}"
        );
    }
    let starts_at = in_seconds(2);
    let terms = json!({ "starts_at": starts_at, "hold_seconds": 2 });
    let product = shop.nodes[1].product(30, terms).await;
    let starts_at: DateTime<Utc> = starts_at.parse().unwrap();

    let nodes = shop.nodes.iter().enumerate();
    let sales =
        nodes.map(|(number, node)| first_sale(node.front(), format!("buyer-{number}"), product));
    let sales = futures::future::join_all(sales).await;

    for (sold, order) in &sales {
        let delay = *sold - starts_at;
        assert!(
            delay > -TimeDelta::milliseconds(100) && delay < SKEW_MAX,
            "{delay}"
        );
        let hold = time(order, "expires_at") - *sold;
        assert!((hold - TimeDelta::seconds(2)).abs() < SKEW_MAX, "{hold}");
        assert!(
            (time(order, "created_at") - *sold).abs() < SKEW_MAX,
            "{order}"
        );
    }
    eventually("the holds end", SOON, async || {
        when(shop.ledger.product(product).await.stock == 30)
    })
    .await;
    let last = sales
        .iter()
        .map(|(_, order)| time(order, "expires_at"))
        .max();
    let delay = now() - last.unwrap();
    assert!(
        delay > -TimeDelta::milliseconds(100) && delay < DELAY_MAX,
        "{delay}"
    );
    shop.assert_books(product).await;
}

/// A fast clock does not end a hold early, and a slow clock does not extend it.
#[rstest]
#[case::fast(1)]
#[case::slow(2)]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_wrong_clock_does_not_change_the_end_of_a_hold(#[case] remaining: usize) {
    let mut shop = shop().await;
    let product = shop
        .service()
        .product(2, json!({ "hold_seconds": 20 }))
        .await;
    let short = shop
        .service()
        .product(2, json!({ "hold_seconds": 1 }))
        .await;
    let long_hold = shop.service().buy("ann", product, 1).await.success(201);
    let short_hold = shop.service().buy("ann", short, 1).await.success(201);

    // From now on only the node with the wrong clock expires holds.
    for node in (0..3).filter(|node| *node != remaining) {
        shop.nodes[node].process.kill();
    }
    let ended = eventually("the short hold ends", SOON, async || {
        let stock = shop.ledger.product(short).await.stock;
        (stock == 2).then(now)
    })
    .await;

    let delay = ended - time(&short_hold, "expires_at");
    assert!(
        delay > -TimeDelta::milliseconds(100) && delay < DELAY_MAX,
        "{delay}"
    );
    assert!(
        now() < time(&long_hold, "expires_at"),
        "the long hold ended before the check"
    );
    assert_eq!(shop.ledger.product(product).await.stock, 1);
    shop.assert_books(product).await;
}
