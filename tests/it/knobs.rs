//! Settings that change how the service works but not its guarantees.

use std::time::{Duration, Instant};

use rstest::rstest;
use serde_json::json;
use test_support::process::redis_servers_of;

use crate::support::{
    SOON, eventually,
    race::{rush, together},
    rival::Rival,
    shop::{Backend, Plan, Shop},
    when,
};

async fn assert_sells_exactly_ten(shop: &Shop) {
    let product = shop.service().product(10, json!({})).await;
    let tally = rush(&shop.nodes, product, 100, 1).await;
    assert_eq!(tally.orders.len(), 10, "{:?}", tally.refusals.keys());
    assert_eq!(tally.refused("sold_out"), 90);
    shop.assert_books(product).await;
}

#[rstest]
#[case::without_batches(Shop::plan(Backend::Postgres).set("ORDER_BATCH_MAX", "1"))]
#[case::batches_of_three(Shop::plan(Backend::Sqlite).set("ORDER_BATCH_MAX", "3"))]
#[case::few_connections(Shop::plan(Backend::Postgres).set("DATABASE_POOL_MAX", "2"))]
#[case::one_lock_node(Shop::plan(Backend::ThreeNodes).lock_nodes(1))]
#[case::five_lock_nodes(Shop::plan(Backend::ThreeNodes).lock_nodes(5))]
#[case::a_short_lock(Shop::plan(Backend::ThreeNodes).set("LOCK_TTL_MS", "100"))]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_setting_sells_the_exact_stock(#[case] plan: Plan) {
    assert_sells_exactly_ten(&plan.open().await).await;
}

/// Five lock nodes keep their majority without two of them; without three they lose it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn five_lock_nodes_tolerate_the_loss_of_two() {
    let mut shop = Shop::plan(Backend::Postgres).lock_nodes(5).open().await;
    for (killed, degraded) in [(1, 0), (2, 0), (3, 1)] {
        shop.redis_mut().0[killed].kill();
        let healthy = u32::try_from(5 - killed).unwrap();
        eventually("the loss is reported", SOON, async || {
            let metrics = shop.service().metrics().await;
            when(
                metrics.shows("flash_sale_lock_nodes_healthy", &[], healthy)
                    && metrics.shows("flash_sale_lock_degraded", &[], degraded),
            )
        })
        .await;
        assert_sells_exactly_ten(&shop).await;
    }
}

/// Without any Redis the service uses a lock inside the process and logs a warning.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_redis_server_the_service_uses_an_in_process_lock() {
    let shop = Shop::plan(Backend::Sqlite)
        .set("PATH", "/nonexistent")
        .open()
        .await;

    assert_eq!(
        redis_servers_of(shop.service().process.pid()).unwrap(),
        Vec::<u32>::new()
    );
    let log = shop.log();
    assert!(
        log.lines()
            .any(|line| line.contains("WARN") && line.contains("redis-server")),
        "{log}"
    );
    let (status, health) = shop.service().health().await;
    assert_eq!(status, 200, "{health}");
    assert_sells_exactly_ten(&shop).await;
}

/// Without `REDIS_LOCK_URLS`, `REDIS_URL` is the only lock node.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn redis_url_alone_is_the_lock_node() {
    let nodes = crate::support::redis::Nodes::start(1).await;
    let plan = Shop::plan(Backend::Sqlite).set("REDIS_URL", &nodes.0[0].url());
    let shop = plan.open().await;
    let monitor = nodes.0[0].monitor().await;
    let product = shop.service().product(3, json!({})).await;

    shop.service().buy("ann", product, 1).await.success(201);

    let key = format!("lock:product:{product}:stock:3");
    eventually("the lock was acquired on that node", SOON, async || {
        when(!monitor.commands(&key).is_empty())
    })
    .await;
    assert_eq!(
        redis_servers_of(shop.service().process.pid()).unwrap(),
        Vec::<u32>::new()
    );
}

/// A lane with a full queue refuses at once; orders in the queue are served.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_lane_refuses_at_once_and_serves_its_queue() {
    let plan = Shop::plan(Backend::Postgres)
        .set("LANE_QUEUE_MAX", "5")
        .set("ORDER_BATCH_MAX", "5");
    let shop = plan.set("LOCK_PATIENCE_MS", "4000").open().await;
    let product = shop.service().product(100, json!({})).await;
    let rival = Rival::holds(&shop, product).await;
    let front = shop.service().front();
    let calls = (0..40)
        .map(|n| front.order(&format!("user-{n}"), product, 1))
        .collect();
    let begun = Instant::now();
    let waiting = tokio::task::JoinSet::from_iter([together(calls)]);

    let full = [("outcome", "high_demand")];
    eventually("thirty are refused", Duration::from_secs(2), async || {
        let metrics = shop.service().metrics().await;
        (metrics.value("flash_sale_orders_total", &full)? >= 30.0).then_some(())
    })
    .await;
    assert!(
        begun.elapsed() < Duration::from_secs(3),
        "well before the lock patience ends"
    );
    rival.leaves(shop.redis()).await;

    let answers: Vec<_> = waiting.join_all().await.into_iter().flatten().collect();
    let served = answers.iter().filter(|answer| answer.status == 201).count();
    assert!(
        (5..=10).contains(&served),
        "{served} were in the queue or in the batch"
    );
    for answer in answers.iter().filter(|answer| answer.status != 201) {
        answer.refusal(400, "high_demand");
        answer.retry_after();
    }
    shop.assert_books(product).await;
}

/// Later products share one label: every label value costs Prometheus memory permanently.
#[tokio::test]
async fn products_beyond_the_bound_share_a_label() {
    let shop = Shop::plan(Backend::Sqlite)
        .set("METRICS_PRODUCTS_MAX", "2")
        .open()
        .await;
    for sku in ["first", "second", "third", "fourth"] {
        let product = shop.service().product(1, json!({ "sku": sku })).await;
        shop.service().buy("ann", product, 1).await.success(201);
    }

    let metrics = shop.service().metrics().await;

    let units = |sku: &str| metrics.value("flash_sale_order_units_total", &[("product", sku)]);
    assert_eq!((units("first"), units("second")), (Some(1.0), Some(1.0)));
    assert_eq!((units("third"), units("fourth")), (None, None));
    assert_eq!(
        metrics.value("flash_sale_order_units_total", &[]),
        Some(4.0)
    );
}
