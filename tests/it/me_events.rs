//! `GET /me/events` (SSE): changes of a user's own orders and places, made on any node.

use std::time::{Duration, Instant};

use rstest::rstest;
use serde_json::{Value, json};
use uuid::Uuid;

use crate::support::{
    SOON,
    events::Events,
    front::Front,
    shop::{Backend, Shop},
    tokens,
};

/// Shortest interval between two polls of a stream.
const POLL_INTERVAL_MIN: Duration = Duration::from_millis(1_500);
const EVENTS: u32 = 8;

async fn follow(front: &Front, user: &str) -> Events {
    Events::open(front.get("/me/events").bearer(&tokens::user(user))).await
}

/// An event about an order of the product with this status.
fn order_is(product: Uuid, status: &str) -> impl Fn(&str, &Value) -> bool {
    move |kind, data| {
        kind == "order" && data["product_id"] == json!(product) && data["status"] == status
    }
}

#[rstest]
#[case::sqlite(Backend::Sqlite)]
#[case::three_nodes(Backend::ThreeNodes)]
#[tokio::test]
async fn a_user_receives_changes_of_own_orders_only(#[case] backend: Backend) {
    let shop = Shop::open(backend).await;
    let (service, last) = (shop.service(), shop.nodes.last().unwrap());
    let long = service.product(9, json!({ "hold_seconds": 600 })).await;
    let short = service.product(9, json!({ "hold_seconds": 1 })).await;
    let before = service.buy("ann", long, 1).await.success(201);
    service.buy("bob", long, 1).await.success(201);

    let mut ann = follow(last, "ann").await;
    let first = ann.until(order_is(long, "pending"), SOON).await;
    assert_eq!(first, [("order".to_owned(), before.clone())]);
    service.buy("ann", short, 2).await.success(201);
    service.buy("bob", short, 2).await.success(201);
    let mut seen = ann.until(order_is(short, "expired"), SOON).await;
    let order = before["id"].as_str().unwrap();
    let cancel = service.cancel(&tokens::user("ann"), order).send().await;
    let cancelled = cancel.success(200);
    let more = ann.until(order_is(long, "cancelled"), SOON).await;
    assert_eq!(more.last().unwrap().1, cancelled);

    seen.extend(more);
    assert!(
        seen.iter().all(|(_, data)| data["user_id"] == "ann"),
        "{seen:?}"
    );
    let mut distinct = seen.clone();
    distinct.dedup();
    assert_eq!(distinct, seen, "an event was sent twice");
}

#[rstest]
#[case::sqlite(Backend::Sqlite)]
#[case::three_nodes(Backend::ThreeNodes)]
#[tokio::test]
async fn a_waiting_user_receives_the_place_and_then_the_order(#[case] backend: Backend) {
    let shop = Shop::open(backend).await;
    let (service, last) = (shop.service(), shop.nodes.last().unwrap());
    let terms = json!({ "hold_seconds": 600, "waitlist": true });
    let product = service.product(0, terms).await;
    service.join("first", product, 1).await;
    service.join("ann", product, 1).await;
    let place = |position: Option<i64>, status: &'static str| {
        move |kind: &str, data: &Value| {
            kind == "waitlist" && data["position"] == json!(position) && data["status"] == status
        }
    };

    let mut ann = follow(last, "ann").await;
    ann.until(place(Some(2), "waiting"), SOON).await;
    let left = service.leave("first", product).send().await;
    assert_eq!(left.status, 204, "{left:?}");
    ann.until(place(Some(1), "waiting"), SOON).await;
    service.restock(product, 1).await.success(200);
    let seen = ann.until(place(None, "offered"), SOON).await;

    let offered = &seen.last().unwrap().1;
    let order = seen.iter().find(|(kind, _)| kind == "order").unwrap();
    assert_eq!(offered["order_id"], order.1["id"]);
    assert_eq!(order.1["status"], "pending");
    let mut first = follow(service, "first").await;
    service
        .buy("first", product, 1)
        .await
        .refusal(409, "sold_out");
    let other = service.product(1, json!({})).await;
    service.buy("first", other, 1).await.success(201);
    let seen = first.until(order_is(other, "confirmed"), SOON).await;
    assert_eq!(seen.len(), 1, "{seen:?}");
}

/// User events from another node arrive sooner than the polls of the stream, every few seconds.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_receives_user_events_of_another() {
    let shop = Shop::open(Backend::ThreeNodes).await;
    let (service, last) = (shop.service(), shop.nodes.last().unwrap());
    let product = service.product(99, json!({ "hold_seconds": 600 })).await;
    let mut orders = Vec::new();
    for _ in 0..EVENTS {
        let order = service.buy("ann", product, 1).await.success(201);
        orders.push(order["id"].as_str().unwrap().to_owned());
    }
    let mut ann = follow(last, "ann").await;
    ann.until(order_is(product, "pending"), SOON).await;

    let begun = Instant::now();
    for order in orders {
        let cancelled = service.cancel(&tokens::admin(), &order).send().await;
        let cancelled = cancelled.success(200);
        let is_expected = |kind: &str, data: &Value| kind == "order" && *data == cancelled;
        ann.until(is_expected, SOON).await;
    }

    let took = begun.elapsed();
    assert!(took < POLL_INTERVAL_MIN * EVENTS / 2, "{took:?}");
}

#[tokio::test]
async fn the_stream_requires_a_token() {
    let shop = Shop::open(Backend::Sqlite).await;
    let front = shop.service();
    let answer = front.get("/me/events").send().await;
    answer.refusal(401, "unauthenticated");
    let answer = front
        .get("/me/events")
        .bearer(&tokens::unsigned())
        .send()
        .await;
    answer.refusal(401, "unauthenticated");
}

#[tokio::test]
async fn the_stream_ends_with_the_service() {
    let mut shop = Shop::open(Backend::Sqlite).await;
    let product = shop.service().product(1, json!({})).await;
    shop.service().buy("ann", product, 1).await.success(201);
    let mut ann = follow(shop.service(), "ann").await;
    ann.until(order_is(product, "confirmed"), SOON).await;

    let status = shop.nodes[0].stop().await;

    ann.end(SOON).await;
    assert!(status.success(), "{status:?}");
}
