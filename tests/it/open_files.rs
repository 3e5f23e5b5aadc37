//! The limit of open files: connections are bounded below it, so that a file is left for each new one
//! and for the database.

use serde_json::json;

use crate::support::{
    SOON,
    crowd::{Reader, allow_files},
    eventually,
    front::Front,
    shop::{Backend, Shop},
    when,
};

/// More streams and silent connections than the limit has room for stop neither listener.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_flood_of_connections_leaves_files_for_orders_and_probes() {
    allow_files(2_000);
    let shop = Shop::plan(Backend::Sqlite).files(300).open().await;
    let service = shop.service();
    let product = service.product(5, json!({})).await;
    let path = format!("/products/{product}/events");
    let mut flood = Vec::new();
    for _ in 0..350 {
        flood.push(Reader::open(&service.url, &path).await);
        flood.push(Reader::connect(&service.url).await);
    }

    // New connections, as other clients would open.
    let newcomer = |url: &String| Front::new(url.clone(), test_support::http::client().unwrap());
    let buyer = newcomer(&service.url);
    buyer.buy("ann", product, 1).await.success(201);
    for front in [buyer, newcomer(&service.operations)] {
        for path in ["/health/live", "/health/ready"] {
            front.get(path).send().await.success(200);
        }
    }

    let metrics = service.metrics().await;
    let max = |listener| metrics.value("flash_sale_connections_max", &[("listener", listener)]);
    let (api, operators) = (max("api").unwrap(), max("operations").unwrap());
    assert!(api + operators < 300.0, "{api} and {operators} connections");
    assert!(metrics.value("flash_sale_streams_max", &[]).unwrap() <= api / 2.0);
    let log = shop.log();
    let warnings: Vec<_> = log.lines().filter(|line| line.contains("WARN")).collect();
    assert_eq!(warnings.len(), 1, "{log}");
    for part in ["CONNECTIONS_MAX is 20000", "300", "LimitNOFILE"] {
        assert!(warnings[0].contains(part), "{log}");
    }
}

#[tokio::test]
async fn a_limit_that_has_room_for_every_connection_is_not_warned_about() {
    let shop = Shop::plan(Backend::Sqlite)
        .files(400)
        .set("CONNECTIONS_MAX", "100")
        .open()
        .await;
    eventually("the bound is exported", SOON, async || {
        let metrics = shop.service().metrics().await;
        when(metrics.shows("flash_sale_connections_max", &[("listener", "api")], 100))
    })
    .await;
    assert!(!shop.log().contains("CONNECTIONS_MAX"), "{}", shop.log());
}
