//! Crash recovery under load: acknowledged orders are durable, and no unit is lost.

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
async fn acknowledged_orders_survive_a_crash(#[case] backend: Backend) {
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
    eventually("all units are sold", SOON * 3, async || {
        when(load.told().refused("sold_out") > 0)
    })
    .await;

    let received = load.finish().await;
    assert!(received.broken > 0, "the crashes broke connections");
    assert_eq!(received.refused("internal"), 0, "{:?}", received.refusals);
    let rows = shop.ledger.orders(product).await;
    let written: BTreeSet<String> = rows.iter().map(|row| row.id.to_string()).collect();
    let acknowledged = BTreeSet::from_iter(received.orders.clone());
    assert_eq!(
        acknowledged.len(),
        received.orders.len(),
        "each order belongs to one buyer"
    );
    assert_eq!(
        written, acknowledged,
        "retries with the same key found every order whose response was lost"
    );
    assert_eq!(shop.ledger.sold(product).await, STOCK);
    shop.assert_books(product).await;
}

/// One of three processes is killed; the others keep selling.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_other_nodes_keep_selling_when_one_is_killed() {
    let mut shop = Shop::open(Backend::ThreeNodes).await;
    let product = shop.service().product(1_000_000, json!({})).await;
    let doors: Vec<_> = shop.nodes.iter().map(|node| door(node.front())).collect();
    let killed = Load::start(&doors[..1], product, 8);
    let surviving = Load::start(&doors[1..], product, 16);
    killed.sells(20).await;

    for _ in 0..3 {
        shop.nodes[0].process.kill();
        surviving.sells(100).await;
        shop.restart(0).await;
        *doors[0].lock().unwrap() = shop.service().front();
        killed.sells(20).await;
    }

    let (killed, surviving) = (killed.finish().await, surviving.finish().await);
    assert_eq!(surviving.broken, 0, "{:?}", surviving.refusals);
    for order in killed.orders.iter().chain(&surviving.orders) {
        assert!(
            shop.ledger.has_order(order).await,
            "{order} was answered 201"
        );
    }
    shop.assert_books(product).await;
}
