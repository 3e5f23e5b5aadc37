//! Concurrent orders, restocks and product changes: each takes effect once, none undoes another.

use rstest::rstest;
use serde_json::json;
use tokio::task::JoinSet;

use crate::support::{
    SOON, eventually,
    front::product_body,
    load::{Load, door},
    race::{rush, together},
    shop::{Backend, Shop},
    tokens, when,
};

#[rstest]
#[case::sqlite(Backend::Sqlite)]
#[case::three_nodes(Backend::ThreeNodes)]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn restocks_during_a_race_all_count(#[case] backend: Backend) {
    let shop = Shop::plan(backend).patient().open().await;
    let product = shop.service().product(20, json!({})).await;

    let restocks = async {
        for round in 0..20 {
            let node = &shop.nodes[round % shop.nodes.len()];
            node.restock(product, 4).await.success(200);
        }
    };
    let (first, ()) = tokio::join!(rush(&shop.nodes, product, 60, 1), restocks);
    let left = usize::try_from(shop.ledger.product(product).await.stock).unwrap();
    assert_eq!(
        first.orders.len() + left,
        100,
        "{:?}",
        first.refusals.keys()
    );

    let second = crate::support::race::rush_of("late", &shop.nodes, product, 100, 1).await;
    assert_eq!(second.orders.len(), left);
    assert_eq!(shop.ledger.product(product).await.stock_total, 100);
    shop.assert_books(product).await;
}

#[rstest]
#[case::sqlite(Backend::Sqlite)]
#[case::three_nodes(Backend::ThreeNodes)]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn product_changes_under_load_are_kept_and_fail_no_sale(#[case] backend: Backend) {
    let shop = Shop::open(backend).await;
    let product = shop.service().product(1_000_000, json!({})).await;
    let doors: Vec<_> = shop.nodes.iter().map(|node| door(node.front())).collect();
    let load = Load::start(&doors, product, 12);

    for price in 1..=30 {
        let node = &shop.nodes[price % shop.nodes.len()];
        let changed = node
            .change(product, &json!({ "price": price }))
            .await
            .success(200);
        assert_eq!(changed["price"], price);
    }
    load.sells(50).await;

    let received = load.finish().await;
    assert_eq!(
        (received.broken, received.refused("internal")),
        (0, 0),
        "{:?}",
        received.refusals
    );
    assert_eq!(shop.ledger.product(product).await.price, 30);
    let prices = shop
        .ledger
        .orders(product)
        .await
        .into_iter()
        .map(|order| order.unit_price);
    assert!(
        prices
            .into_iter()
            .all(|price| price == 1999 || (1..=30).contains(&price))
    );
    shop.assert_books(product).await;
}

#[rstest]
#[case::sqlite(Backend::Sqlite)]
#[case::three_nodes(Backend::ThreeNodes)]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn concurrent_requests_take_a_sku_once(#[case] backend: Backend) {
    let shop = Shop::open(backend).await;
    let body = product_body(1, json!({}));

    let nodes = shop.nodes.iter().cycle().take(24);
    let calls = nodes.map(|node| node.post("/products").bearer(&tokens::admin()).json(&body));
    let mut answers = together(calls.collect()).await;

    answers.sort_by_key(|answer| answer.status);
    answers[0].success(201);
    for answer in &answers[1..] {
        answer.refusal(409, "sku_taken");
    }
    assert_eq!(shop.ledger.everything().await.0.len(), 1);
}

/// Buyers and readers at once get no server error.
#[rstest]
#[case::sqlite(Backend::Sqlite)]
#[case::three_nodes(Backend::ThreeNodes)]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn concurrent_reads_and_orders_get_no_server_error(#[case] backend: Backend) {
    let shop = Shop::open(backend).await;
    let product = shop.service().product(100, json!({})).await;
    let mut calls = Vec::new();
    for number in 0..300 {
        let node = &shop.nodes[number % shop.nodes.len()];
        let user = format!("user-{number}");
        calls.push(match number % 5 {
            0 => node.get("/products"),
            1 => node.get(&format!("/products/{product}")),
            2 => node.get(&format!("/products/{product}/availability")),
            3 => node.get("/orders").bearer(&tokens::user(&user)),
            _ => node.order(&user, product, 1),
        });
    }

    let answers = together(calls).await;

    for (number, answer) in answers.iter().enumerate() {
        let status = if number % 5 == 4 { 201 } else { 200 };
        assert!(
            answer.status == status || answer.code() == "high_demand",
            "{answer:?}"
        );
    }
    shop.assert_books(product).await;
}

/// Reads use all connections that they may use, two of five, and both of these wait for a table lock.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn blocked_reads_do_not_block_sales() {
    let plan = Shop::plan(Backend::Postgres).set("DATABASE_POOL_MAX", "5");
    let shop = plan.open().await;
    let front = shop.service().front();
    let products = [
        front.product(5, json!({})).await,
        front.product(5, json!({})).await,
    ];
    shop.ledger.execute("BEGIN").await;
    let lock = "LOCK TABLE waitlist_entries IN ACCESS EXCLUSIVE MODE";
    shop.ledger.execute(lock).await;
    let mut readers = JoinSet::new();
    for reader in 0..50 {
        let front = front.clone();
        let path = format!("/products/{}/waitlist", products[0]);
        let token = tokens::user(&format!("reader-{reader}"));
        readers.spawn(async move {
            loop {
                front.get(&path).bearer(&token).send().await;
            }
        });
    }
    eventually("both connections of reads are blocked", SOON, async || {
        when(shop.ledger.texts(BLOCKED).await.len() == 2)
    })
    .await;

    for product in products {
        front.buy("ann", product, 1).await.success(201);
    }
    readers.shutdown().await;
    shop.ledger.execute("ROLLBACK").await;
    for product in products {
        shop.assert_books(product).await;
    }
}

const BLOCKED: &str = "SELECT 'hangs' FROM pg_locks JOIN pg_database ON pg_database.oid = database \
    WHERE datname = current_database() AND NOT granted";

/// A node's cached stock does not make it refuse units that another node has restocked.
#[tokio::test]
async fn a_refusal_uses_the_current_stock() {
    let shop = Shop::plan(Backend::Postgres).nodes(2).open().await;
    let [selling, restocking] = [0, 1].map(|node| shop.nodes[node].front());
    let product = selling.product(3, json!({ "max_per_user": 20 })).await;

    for round in 0..5 {
        selling.buy("ann", product, 2).await.success(201);
        restocking.restock(product, 3).await.success(200);
        selling.buy("bob", product, 4).await.success(201);
        restocking.restock(product, 3).await.success(200);
        let stock = shop.ledger.product(product).await.stock;
        assert_eq!(stock, 3, "round {round}");
    }
    shop.assert_books(product).await;
}
