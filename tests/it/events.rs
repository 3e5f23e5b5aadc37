//! Server-sent events of a product's stock: `GET /products/{id}/events`.

use rstest::rstest;
use serde_json::{Value, json};
use uuid::Uuid;

use crate::support::{
    SOON,
    events::Events,
    front::Front,
    race::rush,
    shop::{Backend, Shop},
};

async fn listen(front: &Front, product: Uuid) -> Events {
    Events::open(front.get(&format!("/products/{product}/events"))).await
}

#[rstest]
#[case::sqlite(Backend::Sqlite)]
#[case::postgres(Backend::Postgres)]
#[tokio::test]
async fn a_listener_receives_the_stock_at_first_and_after_each_change(#[case] backend: Backend) {
    let shop = Shop::open(backend).await;
    let service = shop.service();
    let product = service.product(5, json!({})).await;
    let mut events = listen(service, product).await;

    let first = events.next(SOON).await;
    let fields: Vec<&str> = first
        .as_object()
        .unwrap()
        .keys()
        .map(String::as_str)
        .collect();
    assert_eq!(fields, ["stock", "version"]);
    assert_eq!(first["stock"], 5);

    service.buy("ann", product, 2).await.success(201);
    let second = events.until_stock(3, SOON).await;
    assert!(version(&second) > version(&first), "{first} then {second}");
    service.restock(product, 4).await.success(200);
    let third = events.until_stock(7, SOON).await;
    assert!(version(&third) > version(&second), "{second} then {third}");
}

fn version(event: &Value) -> i64 {
    event["version"].as_i64().unwrap()
}

#[tokio::test]
async fn a_listener_receives_the_sales_of_other_nodes() {
    let shop = Shop::open(Backend::ThreeNodes).await;
    let product = shop.service().product(5, json!({})).await;
    let mut events = listen(&shop.nodes[2], product).await;
    assert_eq!(events.next(SOON).await["stock"], 5);

    shop.nodes[0].buy("ann", product, 1).await.success(201);
    events.until_stock(4, SOON).await;
    shop.nodes[1].buy("bob", product, 1).await.success(201);
    events.until_stock(3, SOON).await;
}

#[rstest]
#[case::sqlite(Backend::Sqlite)]
#[case::three_nodes(Backend::ThreeNodes)]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_listener_receives_the_end_of_a_race(#[case] backend: Backend) {
    let shop = Shop::open(backend).await;
    let product = shop.service().product(40, json!({})).await;
    let mut listeners = Vec::new();
    for node in shop.nodes.iter().cycle().take(20) {
        listeners.push(listen(node, product).await);
    }

    rush(&shop.nodes, product, 100, 1).await;

    for events in &mut listeners {
        events.until_stock(0, SOON).await;
    }
}

/// Without Redis the service reads the stock from the database instead.
#[tokio::test]
async fn a_stock_stream_continues_without_redis() {
    let mut shop = Shop::plan(Backend::Postgres).nodes(2).open().await;
    let product = shop.service().product(5, json!({})).await;
    let mut events = listen(&shop.nodes[1], product).await;
    assert_eq!(events.next(SOON).await["stock"], 5);

    for node in &mut shop.redis_mut().0 {
        node.kill();
    }
    shop.nodes[0].buy("ann", product, 1).await.success(201);

    events.until_stock(4, SOON).await;
}
