//! Redis lock nodes hang, die and restart: orders continue, and health and metrics show the fault.

use rstest::rstest;
use serde_json::json;

use crate::support::{
    SOON, eventually,
    load::{Load, Told, door},
    service::Service,
    shop::{Backend, Shop},
    when,
};

/// Waits until health and metrics agree on the number of healthy nodes and the degraded state.
async fn nodes_healthy(service: &Service, healthy: u32) {
    let redis = match healthy {
        3 => "up",
        2 => "degraded",
        _ => "down",
    };
    let degraded = u32::from(healthy < 2);
    let status = if healthy == 3 { "up" } else { "degraded" };
    let what = format!("{healthy} healthy nodes");
    eventually(&what, SOON, async || {
        let (code, body) = service.health().await;
        assert_eq!(code, 200, "orders can be taken: {body}");
        let metrics = service.metrics().await;
        let seen = metrics.shows("flash_sale_lock_nodes_healthy", &[], healthy)
            && metrics.shows("flash_sale_lock_degraded", &[], degraded);
        when(seen && body["status"] == status && body["redis"] == redis)
    })
    .await;
}

/// Redis faults may slow the service down; they cause no wrong and no failed answer.
#[track_caller]
fn assert_no_failures(received: &Told) {
    assert_eq!(received.broken, 0, "{received:?}");
    let allowed = ["high_demand"];
    let others = received
        .refusals
        .keys()
        .filter(|code| !allowed.contains(&code.as_str()));
    assert_eq!(others.count(), 0, "{:?}", received.refusals);
    assert_eq!(received.orders.len(), received.served);
}

#[derive(Clone, Copy, Debug)]
enum Fault {
    Paused,
    Killed,
}

#[rstest]
#[case::paused(Fault::Paused)]
#[case::killed(Fault::Killed)]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn orders_continue_without_one_node(#[case] fault: Fault) {
    let mut shop = Shop::plan(Backend::Postgres)
        .set("LOCK_PATIENCE_MS", "3000")
        .open()
        .await;
    let product = shop.service().product(1_000_000, json!({})).await;
    nodes_healthy(shop.service(), 3).await;
    let load = Load::start(&[door(shop.service().front())], product, 8);
    load.sells(50).await;

    match fault {
        Fault::Paused => shop.redis().0[1].pause(),
        Fault::Killed => shop.redis_mut().0[1].kill(),
    }
    load.sells(50).await;
    nodes_healthy(shop.service(), 2).await;
    load.sells(50).await;

    match fault {
        Fault::Paused => shop.redis().0[1].resume(),
        Fault::Killed => shop.redis_mut().0[1].restart().await,
    }
    nodes_healthy(shop.service(), 3).await;
    load.sells(50).await;

    assert_no_failures(&load.finish().await);
    shop.assert_books(product).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_a_majority_the_version_guard_prevents_overselling() {
    let mut shop = Shop::plan(Backend::Postgres)
        .set("LOCK_PATIENCE_MS", "3000")
        .open()
        .await;
    let product = shop.service().product(1_000_000, json!({})).await;
    nodes_healthy(shop.service(), 3).await;
    let load = Load::start(&[door(shop.service().front())], product, 8);
    load.sells(50).await;

    shop.redis_mut().0[0].kill();
    shop.redis().0[1].pause();
    load.sells(50).await;
    nodes_healthy(shop.service(), 1).await;
    shop.redis().0[1].resume();
    for node in &mut shop.redis_mut().0 {
        node.kill();
    }
    load.sells(50).await;
    nodes_healthy(shop.service(), 0).await;
    let no_quorum = [("outcome", "no_quorum")];
    let metrics = shop.service().metrics().await;
    assert!(
        metrics
            .value("flash_sale_lock_acquire_total", &no_quorum)
            .unwrap()
            >= 1.0
    );

    for node in &mut shop.redis_mut().0 {
        node.restart().await;
    }
    nodes_healthy(shop.service(), 3).await;
    assert_locks_are_taken_again(&shop, &load).await;

    assert_no_failures(&load.finish().await);
    shop.assert_books(product).await;
}

async fn assert_locks_are_taken_again(shop: &Shop, load: &Load) {
    let taken = async || {
        let metrics = shop.service().metrics().await;
        metrics
            .value("flash_sale_lock_acquire_total", &[("outcome", "acquired")])
            .unwrap()
    };
    let before = taken().await;
    load.sells(50).await;
    eventually("locks are taken again", SOON, async || {
        when(taken().await > before)
    })
    .await;
    eventually("lock keys are seen again", SOON, async || {
        when(!shop.redis().lock_keys().await.is_empty())
    })
    .await;
}

/// Three processes that share only the database.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn three_nodes_without_redis_sell_exactly_the_stock() {
    let mut shop = Shop::open(Backend::ThreeNodes).await;
    let product = shop.service().product(60, json!({})).await;
    for node in &mut shop.redis_mut().0 {
        node.kill();
    }
    for service in &shop.nodes {
        nodes_healthy(service, 0).await;
    }

    let tally = crate::support::race::rush(&shop.nodes, product, 150, 1).await;

    assert_eq!(tally.orders.len(), 60, "{:?}", tally.refusals.keys());
    assert_eq!(tally.refused("sold_out"), 90);
    shop.assert_books(product).await;
}

/// A service may start before its Redis does.
#[tokio::test]
async fn a_service_starts_and_sells_while_redis_is_down() {
    let mut shop = Shop::open(Backend::Postgres).await;
    let product = shop.service().product(5, json!({})).await;
    for node in &mut shop.redis_mut().0 {
        node.kill();
    }

    shop.restart(0).await;

    shop.service().buy("ann", product, 1).await.success(201);
    nodes_healthy(shop.service(), 0).await;
    for node in &mut shop.redis_mut().0 {
        node.restart().await;
    }
    nodes_healthy(shop.service(), 3).await;
    shop.service().buy("bob", product, 1).await.success(201);
    shop.assert_books(product).await;
}
