//! Bounds of event streams: their own places, and bounds per user and per address.

use serde_json::json;
use uuid::Uuid;

use crate::support::{
    SOON,
    crowd::Reader,
    events::Events,
    eventually,
    front::Front,
    http::Call,
    shop::{Backend, Shop},
    tokens,
};

fn events_of(front: &Front, product: Uuid) -> Call {
    front.get(&format!("/products/{product}/events"))
}

/// Waits until the stream opens: a closed one frees its place shortly after.
async fn opens(what: &str, call: impl Fn() -> Call) {
    eventually(what, SOON, async || {
        let response = call().stream().await;
        (response.status() == 200).then_some(())
    })
    .await;
}

/// With 50 connections, a flood of event streams stops neither orders nor the liveness probe.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_flood_of_streams_stops_no_request() {
    let shop = Shop::plan(Backend::Sqlite)
        .set("CONNECTIONS_MAX", "50")
        .open()
        .await;
    let service = shop.service();
    let product = service.product(5, json!({})).await;
    let path = format!("/products/{product}/events");
    let mut flood = Vec::new();
    for _ in 0..60 {
        flood.push(Reader::open(&service.url, &path).await);
    }

    // New connections, as other clients would open.
    let client = test_support::http::client().unwrap();
    let newcomer = Front::new(service.url.clone(), client);
    newcomer.buy("ann", product, 1).await.success(201);
    newcomer.get("/health/live").send().await.success(200);

    for reader in &mut flood {
        reader.until("\r\n\r\n", SOON).await;
    }
    let open = |reader: &&Reader| reader.text().starts_with("HTTP/1.1 200");
    assert_eq!(flood.iter().filter(open).count(), 25);
    let refused = events_of(&newcomer, product).send().await;
    refused.refusal(503, "stream_limit");
    assert!(refused.retry_after() >= 1);
    let metrics = service.metrics().await;
    assert!(metrics.shows("flash_sale_streams", &[], 25));
    assert!(metrics.shows("flash_sale_streams_max", &[], 25));
    let bound = [("bound", "node")];
    assert!(metrics.shows("flash_sale_streams_refused_total", &bound, 36));
    drop(flood);
    opens("a place is free", || events_of(&newcomer, product)).await;
}

#[tokio::test]
async fn a_user_has_at_most_five_streams() {
    let shop = Shop::open(Backend::Sqlite).await;
    let front = shop.service().front();
    let follow = |user: &str| front.get("/me/events").bearer(&tokens::user(user));
    let mut open = Vec::new();
    for _ in 0..5 {
        open.push(Events::open(follow("ann")).await);
    }

    let refused = follow("ann").send().await;

    refused.refusal(503, "stream_limit");
    refused.retry_after();
    Events::open(follow("bob")).await;
    // The token is checked first.
    let unsigned = front.get("/me/events").bearer(&tokens::unsigned());
    unsigned.send().await.refusal(401, "unauthenticated");
    open.pop();
    opens("a place is free", || follow("ann")).await;
}

#[tokio::test]
async fn an_address_behind_a_trusted_proxy_has_a_bound_of_its_own() {
    let shop = Shop::plan(Backend::Sqlite)
        .set("TRUSTED_PROXIES", "192.0.2.0/24, 127.0.0.1")
        .set("STREAMS_PER_ADDRESS_MAX", "2")
        .open()
        .await;
    let front = shop.service().front();
    let product = front.product(5, json!({})).await;
    let watch = |client: &str| events_of(&front, product).header("x-forwarded-for", client);
    let _first = Events::open(watch("198.51.100.1")).await;
    let second = Events::open(watch("203.0.113.9, 198.51.100.1, 192.0.2.7")).await;

    let third = watch("198.51.100.1").send().await;

    third.refusal(503, "stream_limit");
    Events::open(watch("198.51.100.2")).await;
    drop(second);
    opens("a place is free", || watch("198.51.100.1")).await;
}

/// Behind a proxy that the operator has not named, all clients have one address.
#[tokio::test]
async fn without_trusted_proxies_addresses_do_not_count() {
    let shop = Shop::open(Backend::Sqlite).await;
    let front = shop.service().front();
    let product = front.product(5, json!({})).await;
    let mut open = Vec::new();
    for _ in 0..60 {
        let call = events_of(&front, product).header("x-forwarded-for", "198.51.100.1");
        open.push(Events::open(call).await);
    }
}
