//! The service is killed in the middle of a race: what it has answered is durable, and no unit is lost.

use std::collections::BTreeSet;

use rstest::rstest;
use serde_json::json;

use crate::support::{
    SOON, eventually,
    load::{Load, door},
    shop::{Backend, Shop},
    when,
};

const STOCK: i64 = 3_000;

#[rstest]
#[case::sqlite(Backend::Sqlite)]
#[case::postgres(Backend::Postgres)]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_acknowledged_order_outlives_a_crash(#[case] backend: Backend) {
    let mut shop = Shop::open(backend).await;
    let product = shop.service().product(STOCK, json!({})).await;
    let door = door(shop.service().front());
    let load = Load::start(std::slice::from_ref(&door), product, 32);

    for _ in 0..4 {
        load.sells(100).await;
        shop.nodes[0].process.kill();
        let acknowledged = load.told().orders;
        shop.restart(0).await;
        for order in &acknowledged {
            assert!(
                shop.ledger.has_order(order).await,
                "{order} was answered 201"
            );
        }
        *door.lock().unwrap() = shop.service().front();
    }
    eventually("all is sold", SOON * 3, async || {
        when(load.told().refused("sold_out") > 0)
    })
    .await;

    let told = load.finish().await;
    assert!(told.broken > 0, "the crashes were felt");
    assert_eq!(told.refused("internal"), 0, "{:?}", told.refusals);
    let rows = shop.ledger.orders(product).await;
    let written: BTreeSet<String> = rows.iter().map(|row| row.id.to_string()).collect();
    let acknowledged = BTreeSet::from_iter(told.orders.clone());
    assert_eq!(
        acknowledged.len(),
        told.orders.len(),
        "no order is given to two buyers"
    );
    assert_eq!(
        written, acknowledged,
        "the keys found every order whose answer was lost"
    );
    assert_eq!(shop.ledger.sold(product).await, STOCK);
    shop.assert_books(product).await;
}

/// One of three processes dies; the others never stop selling.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_other_nodes_sell_on_when_one_is_killed() {
    let mut shop = Shop::open(Backend::ThreeNodes).await;
    let product = shop.service().product(1_000_000, json!({})).await;
    let doors: Vec<_> = shop.nodes.iter().map(|node| door(node.front())).collect();
    let dying = Load::start(&doors[..1], product, 8);
    let living = Load::start(&doors[1..], product, 16);
    dying.sells(20).await;

    for _ in 0..3 {
        shop.nodes[0].process.kill();
        living.sells(100).await;
        shop.restart(0).await;
        *doors[0].lock().unwrap() = shop.service().front();
        dying.sells(20).await;
    }

    let (dying, living) = (dying.finish().await, living.finish().await);
    assert_eq!(living.broken, 0, "{:?}", living.refusals);
    for order in dying.orders.iter().chain(&living.orders) {
        assert!(
            shop.ledger.has_order(order).await,
            "{order} was answered 201"
        );
    }
    shop.assert_books(product).await;
}
