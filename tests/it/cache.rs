//! Product read cache: hits, misses, and the age and consistency of cached answers.

use std::time::Duration;

use rstest::rstest;
use serde_json::json;
use tokio::task::JoinSet;
use uuid::Uuid;

use crate::support::{
    SOON, eventually,
    front::Front,
    race::together,
    repository,
    service::Service,
    shop::{Backend, Shop},
    when,
};

const REQUESTS: &str = "flash_sale_cache_requests_total";

/// Cache hits and misses so far.
async fn requests(service: &Service) -> (f64, f64) {
    let metrics = service.metrics().await;
    let of = |result| metrics.value(REQUESTS, &[("result", result)]).unwrap();
    (of("hit"), of("miss"))
}

async fn read(front: &Front, path: &str) -> serde_json::Value {
    front.get(path).send().await.success(200)
}

#[rstest]
#[case::sqlite(Backend::Sqlite)]
#[case::postgres(Backend::Postgres)]
#[tokio::test]
async fn a_node_serves_its_own_changes_at_once(#[case] backend: Backend) {
    let shop = Shop::open(backend).await;
    let service = shop.service();
    for round in 0..20 {
        let product = service.product(5, json!({})).await;
        let path = format!("/products/{product}");
        let availability = format!("{path}/availability");
        let newest = async || read(service, "/products").await["products"][0].clone();
        assert_eq!(newest().await["id"], product.to_string(), "round {round}");
        assert_eq!(read(service, &path).await["stock"], 5);
        assert_eq!(read(service, &availability).await["price"], 1999);

        let changed = service
            .change(product, &json!({ "price": 100 + round }))
            .await;
        let changed = changed.success(200);
        assert_eq!(read(service, &availability).await["price"], 100 + round);
        assert_eq!(read(service, &path).await, changed);
        assert_eq!(newest().await, changed);

        let restocked = service.restock(product, 2).await.success(200);
        assert_eq!(read(service, &availability).await["stock"], 7);
        assert_eq!(read(service, &path).await, restocked);
        assert_eq!(newest().await, restocked);

        service.buy("ann", product, 1).await.success(201);
        assert_eq!(read(service, &path).await["stock"], 6);
        assert_eq!(read(service, &availability).await["stock"], 6);
    }
}

/// Constant reads, so that a read which began before the change is always under way.
#[rstest]
#[case::sqlite(Backend::Sqlite)]
#[case::postgres(Backend::Postgres)]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_serves_its_own_changes_under_concurrent_reads(#[case] backend: Backend) {
    let shop = Shop::open(backend).await;
    let service = shop.service();
    let product = service.product(5, json!({})).await;
    let path = format!("/products/{product}");
    let mut readers = JoinSet::new();
    for _ in 0..8 {
        let (front, path) = (service.front(), path.clone());
        readers.spawn(async move {
            loop {
                read(&front, &path).await;
            }
        });
    }

    for price in 0..200 {
        let changed = service.change(product, &json!({ "price": price })).await;
        assert_eq!(read(service, &path).await, changed.success(200));
    }
}

#[tokio::test]
async fn hits_and_misses_are_counted_from_zero() {
    let shop = Shop::open(Backend::Sqlite).await;
    let service = shop.service();
    assert_eq!(requests(service).await, (0.0, 0.0));
    let product = service.product(5, json!({})).await;

    for _ in 0..100 {
        read(service, &format!("/products/{product}/availability")).await;
    }

    let (hits, misses) = requests(service).await;
    assert!(
        (hits + misses - 100.0).abs() < 0.5,
        "{hits} hits, {misses} misses"
    );
    assert!(hits > misses, "{hits} hits, {misses} misses");
}

#[tokio::test]
async fn products_are_cached_at_startup() {
    let mut shop = Shop::open(Backend::Postgres).await;
    let product = shop.service().product(5, json!({})).await;
    eventually("the first read is a cache hit", SOON, async || {
        shop.restart(0).await;
        read(shop.service(), &format!("/products/{product}")).await;
        when(requests(shop.service()).await == (1.0, 0.0))
    })
    .await;
}

#[rstest]
#[case::sqlite(Backend::Sqlite)]
#[case::postgres(Backend::Postgres)]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn concurrent_reads_share_one_query(#[case] backend: Backend) {
    let shop = Shop::open(backend).await;
    let service = shop.service();
    let product = service.product(5, json!({})).await;
    let paths = [
        format!("/products/{product}"),
        format!("/products/{product}/availability"),
        "/products".to_owned(),
    ];

    for path in paths {
        let calls = (0..100).map(|_| service.get(&path)).collect();
        let (_, before) = requests(service).await;
        for answer in together(calls).await {
            answer.success(200);
        }
        let (_, after) = requests(service).await;
        // On a slow machine the reads take longer than the quarter second that an answer is cached.
        assert!(after - before < 20.0, "{path}: {} misses", after - before);
    }
}

#[tokio::test]
async fn nodes_share_cached_products() {
    let shop = Shop::plan(Backend::Postgres).nodes(2).open().await;
    let path = |product: Uuid| format!("/products/{product}");

    eventually("a read that skips the database", SOON, async || {
        let product = shop.service().product(5, json!({})).await;
        read(&shop.nodes[0], &path(product)).await;
        let key = format!("flash-sale:product:{product}");
        let redis = &shop.redis().0[0];
        eventually("the product is shared", SOON, async || {
            read(&shop.nodes[0], &path(product)).await;
            when(redis.run::<bool>(&["EXISTS", &key]).await)
        })
        .await;
        let before = requests(&shop.nodes[1]).await;
        assert_eq!(read(&shop.nodes[1], &path(product)).await["stock"], 5);
        let after = requests(&shop.nodes[1]).await;
        when(after == (before.0 + 1.0, before.1))
    })
    .await;
}

/// The other node receives no stock event, so only the maximum age bounds a stale answer.
#[tokio::test]
async fn without_redis_answers_are_at_most_a_second_old() {
    let mut shop = Shop::plan(Backend::Postgres).nodes(2).open().await;
    let product = shop.service().product(50, json!({})).await;
    for node in &mut shop.redis_mut().0 {
        node.kill();
    }
    let path = format!("/products/{product}");

    for sold in 1..=5 {
        read(&shop.nodes[1], &path).await;
        shop.nodes[0].buy("ann", product, 1).await.success(201);
        let remaining = 50 - sold;
        let second = Duration::from_millis(1_300);
        eventually("the other node reports the sale", second, async || {
            let availability = read(&shop.nodes[1], &format!("{path}/availability")).await;
            let product = read(&shop.nodes[1], &path).await;
            when(availability["stock"] == remaining && product["stock"] == remaining)
        })
        .await;
    }
}

/// A Redis that does not answer delays a read only briefly.
#[tokio::test]
async fn an_unresponsive_redis_does_not_block_reads() {
    let shop = Shop::open(Backend::Postgres).await;
    let product = shop.service().product(5, json!({})).await;
    shop.redis().0[0].pause();

    let begun = std::time::Instant::now();
    for round in 0..10 {
        let price = json!({ "price": round });
        shop.service().change(product, &price).await.success(200);
        let seen = read(shop.service(), &format!("/products/{product}")).await;
        assert_eq!(seen["price"], round);
    }

    assert!(begun.elapsed() < SOON, "{:?}", begun.elapsed());
    shop.redis().0[0].resume();
}

#[tokio::test]
async fn unknown_products_are_not_found_and_not_cached() {
    let shop = Shop::open(Backend::Postgres).await;
    for _ in 0..50 {
        let path = format!("/products/{}", Uuid::now_v7());
        for path in [&path, &format!("{path}/availability")] {
            let answer = shop.service().get(path).send().await;
            answer.refusal(404, "product_not_found");
        }
    }
    let keys: Vec<String> = shop.redis().0[0]
        .run(&["KEYS", "flash-sale:product:*"])
        .await;
    assert_eq!(keys, Vec::<String>::new());
}

/// The time before the read may come from a server whose clock was ahead.
#[tokio::test]
async fn redis_keeps_no_value_longer_than_the_cache_may() {
    let shop = Shop::open(Backend::Postgres).await;
    let script = std::fs::read_to_string(repository("src/cache/fill.lua")).unwrap();
    let node = &shop.redis().0[0];
    let key = "flash-sale:product:ahead";
    let time: Vec<String> = node.run(&["TIME"]).await;
    let ahead = (time[0].parse::<u64>().unwrap() + 3_600) * 1_000;

    let fill = [
        "EVAL",
        &script,
        "1",
        key,
        "1",
        "{}",
        &ahead.to_string(),
        "500",
    ];
    let filled: i64 = node.run(&fill).await;

    assert_eq!(filled, 1);
    let left: i64 = node.run(&["PTTL", key]).await;
    assert!(left <= 500, "{left} ms");
}
