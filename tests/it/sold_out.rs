//! Sold-out gate: refuses from the cached state of the node, and only what the lane would refuse.

use std::time::{Duration, Instant};

use rstest::rstest;
use serde_json::json;
use test_support::postgres::Postgres;
use uuid::Uuid;

use crate::support::{
    SOON, eventually, in_seconds,
    race::together,
    service::Service,
    shop::{Backend, Shop},
    tokens, when,
};

/// Orders that a lane has decided.
async fn decided_by_lanes(service: &Service) -> f64 {
    let metrics = service.metrics().await;
    let decided = metrics.value("flash_sale_batch_orders_sum", &[]);
    decided.unwrap_or_default()
}

/// Sends orders until the node refuses them without a lane.
async fn gate_refuses(service: &Service, product: Uuid) {
    eventually("the gate refuses", SOON, async || {
        let before = decided_by_lanes(service).await;
        let refused = service.buy("latecomer", product, 1).await;
        refused.refusal(409, "sold_out");
        when(decided_by_lanes(service).await - before < 0.5)
    })
    .await;
}

/// Sends orders until the node passes each one to a lane.
async fn gate_passes_orders(service: &Service, product: Uuid) {
    eventually("the gate passes orders", SOON, async || {
        let before = decided_by_lanes(service).await;
        for _ in 0..5 {
            service.buy("latecomer", product, 1).await;
        }
        when(decided_by_lanes(service).await - before > 4.5)
    })
    .await;
}

#[rstest]
#[case::sqlite(Backend::Sqlite)]
#[case::postgres(Backend::Postgres)]
#[tokio::test]
async fn the_next_order_after_a_restock_gets_the_unit(#[case] backend: Backend) {
    let shop = Shop::open(backend).await;
    let service = shop.service();
    let product = service.product(0, json!({})).await;
    gate_refuses(service, product).await;
    let before = decided_by_lanes(service).await;

    for round in 0..150 {
        service.restock(product, 1).await.success(200);
        let buyer = format!("buyer-{round}");
        service.buy(&buyer, product, 1).await.success(201);
        for late in 0..6 {
            let late = service.buy(&format!("late-{late}"), product, 1).await;
            late.refusal(409, "sold_out");
        }
    }

    let by_lanes = decided_by_lanes(service).await - before;
    assert!(by_lanes < 1_050.0, "the gate was in use: {by_lanes}");
    shop.assert_books(product).await;
}

/// More products than one read takes from the queue, each asked for once in a while.
#[tokio::test]
async fn the_gate_holds_many_products_that_are_asked_for_in_turn() {
    const PRODUCTS: u8 = 150;
    let shop = Shop::open(Backend::Sqlite).await;
    let service = shop.service();
    let mut products = Vec::new();
    for _ in 0..PRODUCTS {
        products.push(service.product(0, json!({})).await);
    }

    let mut round = 0;
    eventually("the gate refuses most of a round", SOON, async || {
        round += 1;
        let buyer = format!("latecomer-{round}");
        let before = decided_by_lanes(service).await;
        for product in &products {
            let refused = service.buy(&buyer, *product, 1).await;
            refused.refusal(409, "sold_out");
        }
        let by_lanes = decided_by_lanes(service).await - before;
        when(by_lanes < f64::from(PRODUCTS) / 2.0)
    })
    .await;
}

#[tokio::test]
async fn a_restock_opens_the_gates_of_the_other_nodes() {
    let shop = Shop::plan(Backend::Postgres).nodes(2).open().await;
    let product = shop.service().product(0, json!({})).await;

    for round in 0..20 {
        gate_refuses(&shop.nodes[1], product).await;
        shop.nodes[0].restock(product, 1).await.success(200);
        let buyer = format!("buyer-{round}");
        eventually(
            "the other node sells",
            Duration::from_millis(700),
            async || when(shop.nodes[1].buy(&buyer, product, 1).await.status == 201),
        )
        .await;
    }
    shop.assert_books(product).await;
}

#[derive(Clone, Copy, Debug)]
enum Loss {
    Killed,
    Paused,
}

#[rstest]
#[case::killed(Loss::Killed)]
#[case::paused(Loss::Paused)]
#[tokio::test]
async fn without_redis_a_restock_on_another_node_opens_the_gate(#[case] loss: Loss) {
    let mut shop = Shop::plan(Backend::Postgres)
        .nodes(2)
        .set("LOCK_PATIENCE_MS", "4000")
        .open()
        .await;
    let product = shop.service().product(0, json!({})).await;
    gate_refuses(&shop.nodes[1], product).await;

    for node in &mut shop.redis_mut().0 {
        match loss {
            Loss::Killed => node.kill(),
            Loss::Paused => node.pause(),
        }
    }
    if matches!(loss, Loss::Killed) {
        gate_passes_orders(&shop.nodes[1], product).await;
    }
    for round in 0..5 {
        shop.nodes[0].restock(product, 1).await.success(200);
        let buyer = format!("buyer-{round}");
        let restocked = Instant::now();
        loop {
            let begun = restocked.elapsed();
            if shop.nodes[1].buy(&buyer, product, 1).await.status == 201 {
                break;
            }
            // Without stock events a node reads the database; before it notices the loss, it
            // may still refuse.
            let late = matches!(loss, Loss::Paused) && begun < Duration::from_millis(700);
            assert!(late, "{loss:?}: refused {begun:?} after the restock");
        }
    }
    shop.assert_books(product).await;
}

/// Only the first orders after the database stops answering can use the cached state.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_refusal_needs_no_database_while_the_cached_state_is_fresh() {
    let server = Postgres::open().await.unwrap();
    let plan = Shop::plan(Backend::Postgres).database(&server.url(), &server.url());
    let shop = plan.open().await;
    let product = shop.service().product(0, json!({})).await;

    eventually("refusals without a database", SOON * 2, async || {
        gate_refuses(shop.service(), product).await;
        server.pause().unwrap();
        let orders = (0..10).map(|user| shop.service().order(&format!("user-{user}"), product, 1));
        let begun = Instant::now();
        let answers = together(orders.collect()).await;
        let took = begun.elapsed();
        let refused = answers.iter().filter(|answer| answer.code() == "sold_out");
        let all = refused.count() == 10 && took < Duration::from_secs(1);
        if all {
            // A state that is too old is not used.
            eventually(
                "`unavailable` once the state is too old",
                SOON,
                async || {
                    let answer = shop.service().buy("late", product, 1).await;
                    when(answer.code() == "unavailable")
                },
            )
            .await;
        }
        server.resume().unwrap();
        eventually("the database is back", SOON, async || {
            when(shop.service().health().await.0 == 200)
        })
        .await;
        when(all)
    })
    .await;
}

#[rstest]
#[case::sqlite(Backend::Sqlite)]
#[case::postgres(Backend::Postgres)]
#[tokio::test]
async fn the_gate_keeps_the_order_of_the_refusals(#[case] backend: Backend) {
    let shop = Shop::open(backend).await;
    let service = shop.service();
    let product = service.product(1, json!({ "max_per_order": 3 })).await;
    let first = service.order("ann", product, 1).key("once").send().await;
    let order = first.success(201);
    gate_refuses(service, product).await;

    service.buy("bob", product, 4).await.invalid("quantity");
    let again = service.order("ann", product, 1).key("once").send().await;
    assert_eq!(again.success(201), order);
    let reused = service.order("ann", product, 2).key("once").send().await;
    reused.refusal(422, "idempotency_key_reused");

    gate_refuses(service, product).await;
    let limit = json!({ "max_per_user": 1 });
    service.change(product, &limit).await.success(200);
    let limited = service.buy("ann", product, 1).await;
    limited.refusal(409, "purchase_limit");

    let none = json!({ "max_per_user": null });
    service.change(product, &none).await.success(200);
    gate_refuses(service, product).await;
    let over = json!({ "starts_at": in_seconds(-60), "ends_at": in_seconds(-1) });
    service.change(product, &over).await.success(200);
    let late = service.buy("bob", product, 1).await;
    late.refusal(409, "not_on_sale");
}

#[tokio::test]
async fn metrics_count_refusals_of_the_gate_like_those_of_the_lane() {
    let shop = Shop::open(Backend::Sqlite).await;
    let service = shop.service();
    let product = service.product(0, json!({ "sku": "gone" })).await;
    gate_refuses(service, product).await;
    let labels = [("product", "gone"), ("outcome", "sold_out")];
    let counted = async || {
        let metrics = service.metrics().await;
        let duration = "flash_sale_order_duration_seconds_count";
        (
            metrics.value("flash_sale_orders_total", &labels).unwrap(),
            metrics.value(duration, &[("outcome", "sold_out")]).unwrap(),
        )
    };
    let before = counted().await;

    for user in 0..25 {
        let refused = service.buy(&format!("user-{user}"), product, 1).await;
        let body = refused.refusal(409, "sold_out");
        assert_eq!(body["waitlist"], false);
    }

    let after = counted().await;
    assert!(
        (after.0 - before.0 - 25.0).abs() < 0.5,
        "{before:?} {after:?}"
    );
    assert!(
        (after.1 - before.1 - 25.0).abs() < 0.5,
        "{before:?} {after:?}"
    );
}

/// The lane decides requests that may join a waitlist.
#[tokio::test]
async fn requests_that_may_wait_pass_the_gate() {
    let shop = Shop::open(Backend::Sqlite).await;
    let service = shop.service();
    let product = service.product(0, json!({})).await;
    gate_refuses(service, product).await;
    let before = decided_by_lanes(service).await;

    let body = json!({ "product_id": product, "quantity": 1, "waitlist": true });
    let order = service.post("/orders").bearer(&tokens::user("ann"));
    order.json(&body).send().await;

    assert!(decided_by_lanes(service).await - before > 0.5);
}
