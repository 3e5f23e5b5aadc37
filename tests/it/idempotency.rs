//! `Idempotency-Key`: a retry with the same key buys once and receives the first response again.

use rstest::rstest;
use serde_json::{Value, json};
use uuid::Uuid;

use crate::support::{
    front::Front,
    http::{Answer, Call},
    race::together,
    shop::{Backend, Shop},
};

fn keyed(front: &Front, user: &str, product: Uuid, key: &str) -> Call {
    front.order(user, product, 1).key(key)
}

#[track_caller]
fn assert_replay(answer: &Answer, first: &Value) {
    assert_eq!(
        answer.header("idempotency-replayed"),
        Some("true"),
        "{answer:?}"
    );
    assert_eq!(&answer.success(201), first);
}

#[rstest]
#[case::sqlite(Backend::Sqlite)]
#[case::postgres(Backend::Postgres)]
#[tokio::test]
async fn a_replay_returns_the_first_response_even_when_sold_out(#[case] backend: Backend) {
    let shop = Shop::open(backend).await;
    let service = shop.service();
    let product = service.product(2, json!({})).await;

    let first = keyed(service, "ann", product, "k-1").send().await;
    assert_eq!(first.header("idempotency-replayed"), None);
    let first = first.success(201);
    let again = keyed(service, "ann", product, "k-1").send().await;
    assert_replay(&again, &first);
    let location = format!("/orders/{}", first["id"].as_str().unwrap());
    assert!(
        again
            .header("location")
            .is_some_and(|found| found.ends_with(&location)),
        "{again:?}"
    );

    service.buy("bob", product, 1).await.success(201);
    service
        .buy("bob", product, 1)
        .await
        .refusal(409, "sold_out");
    assert_replay(&keyed(service, "ann", product, "k-1").send().await, &first);
    assert_eq!(shop.ledger.orders(product).await.len(), 2);
    shop.assert_books(product).await;
}

#[rstest]
#[case::sqlite(Backend::Sqlite)]
#[case::postgres(Backend::Postgres)]
#[tokio::test]
async fn the_same_key_with_another_body_is_refused(#[case] backend: Backend) {
    let shop = Shop::open(backend).await;
    let service = shop.service();
    let product = service.product(9, json!({})).await;
    keyed(service, "ann", product, "k")
        .send()
        .await
        .success(201);
    let before = shop.ledger.everything().await;

    let more = service.order("ann", product, 2).key("k").send().await;
    more.refusal(422, "idempotency_key_reused");

    assert_eq!(shop.ledger.everything().await, before);
    let another_key = service.order("ann", product, 2).key("l").send().await;
    another_key.success(201);
}

#[rstest]
#[case::sqlite(Backend::Sqlite)]
#[case::postgres(Backend::Postgres)]
#[case::three_nodes(Backend::ThreeNodes)]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn fifty_concurrent_requests_with_one_key_create_one_order(#[case] backend: Backend) {
    let shop = Shop::open(backend).await;
    let product = shop.service().product(100, json!({})).await;

    let nodes = shop.nodes.iter().cycle().take(50);
    let answers = together(nodes.map(|node| keyed(node, "ann", product, "k")).collect()).await;

    let orders: Vec<Value> = answers
        .iter()
        .filter(|a| a.code() != "high_demand")
        .map(|a| a.success(201))
        .collect();
    assert!(orders.iter().all(|order| *order == orders[0]), "{orders:?}");
    let firsts = answers
        .iter()
        .filter(|answer| answer.status == 201 && answer.header("idempotency-replayed").is_none());
    assert_eq!(firsts.count(), 1);
    let rows = shop.ledger.orders(product).await;
    assert_eq!(rows.len(), 1);
    assert_eq!(orders[0]["id"], json!(rows[0].id));
    shop.assert_books(product).await;
}

#[rstest]
#[case::sqlite(Backend::Sqlite)]
#[case::three_nodes(Backend::ThreeNodes)]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_key_buys_each_of_two_products(#[case] backend: Backend) {
    let shop = Shop::open(backend).await;
    let last = shop.nodes.last().unwrap();
    let left = shop.service().product(100, json!({})).await;
    let right = shop.service().product(100, json!({})).await;

    for round in 0..10 {
        let key = format!("round-{round}");
        let calls = || {
            vec![
                keyed(shop.service(), "ann", left, &key),
                keyed(last, "ann", right, &key),
            ]
        };
        let first = together(calls()).await;
        let again = together(calls()).await;
        for (answer, first) in again.iter().zip(&first) {
            assert_replay(answer, &first.success(201));
        }
        assert_eq!(first[0].success(201)["product_id"], json!(left));
        assert_eq!(first[1].success(201)["product_id"], json!(right));
    }

    assert_eq!(shop.ledger.orders(left).await.len(), 10);
    assert_eq!(shop.ledger.orders(right).await.len(), 10);
    shop.assert_books(left).await;
    shop.assert_books(right).await;
}

#[rstest]
#[case::sqlite(Backend::Sqlite)]
#[case::postgres(Backend::Postgres)]
#[tokio::test]
async fn a_key_survives_a_restart(#[case] backend: Backend) {
    let mut shop = Shop::open(backend).await;
    let product = shop.service().product(5, json!({})).await;
    let first = keyed(shop.service(), "ann", product, "k")
        .send()
        .await
        .success(201);

    shop.restart(0).await;

    assert_replay(
        &keyed(shop.service(), "ann", product, "k").send().await,
        &first,
    );
    assert_eq!(shop.ledger.orders(product).await.len(), 1);
    shop.assert_books(product).await;
}

#[tokio::test]
async fn every_node_replays_a_key() {
    let shop = Shop::open(Backend::ThreeNodes).await;
    let product = shop.service().product(5, json!({})).await;
    let first = keyed(shop.service(), "ann", product, "k")
        .send()
        .await
        .success(201);

    for node in &shop.nodes {
        assert_replay(&keyed(node, "ann", product, "k").send().await, &first);
    }

    assert_eq!(shop.ledger.orders(product).await.len(), 1);
}

#[rstest]
#[case::sqlite(Backend::Sqlite)]
#[case::postgres(Backend::Postgres)]
#[tokio::test]
async fn two_users_may_use_the_same_key(#[case] backend: Backend) {
    let shop = Shop::open(backend).await;
    let service = shop.service();
    let product = service.product(5, json!({})).await;

    let ann = keyed(service, "ann", product, "k").send().await;
    let bob = keyed(service, "bob", product, "k").send().await;

    assert_eq!(bob.header("idempotency-replayed"), None);
    assert_ne!(ann.success(201)["id"], bob.success(201)["id"]);
    assert_eq!(shop.ledger.orders(product).await.len(), 2);
}

#[rstest]
#[case::sqlite(Backend::Sqlite)]
#[case::postgres(Backend::Postgres)]
#[tokio::test]
async fn a_refusal_is_not_stored_under_its_key(#[case] backend: Backend) {
    let shop = Shop::open(backend).await;
    let service = shop.service();
    let product = service.product(0, json!({})).await;
    keyed(service, "ann", product, "k")
        .send()
        .await
        .refusal(409, "sold_out");
    assert!(shop.ledger.orders(product).await.is_empty());

    service.restock(product, 1).await.success(200);

    let bought = keyed(service, "ann", product, "k").send().await;
    assert_eq!(bought.header("idempotency-replayed"), None);
    bought.success(201);
    shop.assert_books(product).await;
}

/// A replay ignores later changes: a buyer whose response was lost needs the outcome.
#[tokio::test]
async fn a_replay_ignores_limits_and_the_end_of_the_sale() {
    let shop = Shop::open(Backend::Sqlite).await;
    let service = shop.service();
    let product = service.product(5, json!({ "max_per_user": 1 })).await;
    let first = keyed(service, "ann", product, "k")
        .send()
        .await
        .success(201);

    assert_replay(&keyed(service, "ann", product, "k").send().await, &first);
    let yesterday = crate::support::in_seconds(-86_400);
    service
        .change(product, &json!({ "ends_at": yesterday }))
        .await
        .success(200);
    service
        .buy("bob", product, 1)
        .await
        .refusal(409, "not_on_sale");

    assert_replay(&keyed(service, "ann", product, "k").send().await, &first);
}
