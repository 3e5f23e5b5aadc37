//! A rolling change: all nodes are replaced one by one behind `HAProxy` while buyers order.

use serde_json::json;

use crate::support::{
    haproxy::Haproxy,
    load::{Load, door},
    shop::{Backend, Shop},
};

/// Each buyer orders once, with a key: an answer other than 201, or a broken connection, would be a
/// failed order, and a repeated one.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn all_nodes_are_replaced_under_load_without_a_failed_or_repeated_order() {
    let mut shop = Shop::plan(Backend::ThreeNodes)
        .patient()
        // HAProxy needs at most two checks to notice, a second apart.
        .set("SHUTDOWN_DELAY_MS", "5000")
        .open()
        .await;
    let urls: Vec<&str> = shop.nodes.iter().map(|node| node.url.as_str()).collect();
    let haproxy = Haproxy::start(&urls).await;
    let mut sales = Vec::new();
    for _ in 0..4 {
        let product = haproxy.front.product(1_000_000, json!({})).await;
        let load = Load::start(&[door(haproxy.front.clone())], product, 2);
        sales.push((product, load));
    }

    for node in 0..3 {
        shop.replace(node).await;
        haproxy.sees(node + 1, "UP").await;
        for (_, load) in &sales {
            load.sells(10).await;
        }
    }

    for (product, load) in sales {
        let told = load.finish().await;
        assert_eq!(told.broken, 0, "{told:?}");
        assert!(told.refusals.is_empty(), "{:?}", told.refusals);
        let orders = shop.ledger.orders(product).await;
        assert_eq!(orders.len(), told.served);
        assert_eq!(told.orders.len(), told.served);
        shop.ledger.assert_conserved(product).await;
    }
}
