//! `Idempotency-Key` of a waitlist place: replays the place and fits no other request.

use rstest::rstest;
use serde_json::{Value, json};
use uuid::Uuid;

use crate::support::{
    front::Front,
    http::{Answer, Call},
    race::together,
    shop::{Backend, Shop},
};

#[track_caller]
fn assert_replay(answer: &Answer) -> Value {
    let replayed = answer.header("idempotency-replayed");
    assert_eq!(replayed, Some("true"), "{answer:?}");
    answer.success(202)["waitlist"].clone()
}

fn keyed(front: &Front, user: &str, product: Uuid, key: &str) -> Call {
    front.order_or_wait(user, product, 1).key(key)
}

#[rstest]
#[case::sqlite(Backend::Sqlite)]
#[case::postgres(Backend::Postgres)]
#[tokio::test]
async fn the_key_of_a_place_replays_it_in_its_current_state(#[case] backend: Backend) {
    let shop = Shop::open(backend).await;
    let service = shop.service();
    let product = service.sold_out().await;
    for user in ["first", "ann", "bob"] {
        keyed(service, user, product, "k").send().await.success(202);
    }
    let place = || async { assert_replay(&keyed(service, "ann", product, "k").send().await) };

    assert_eq!(place().await["position"], 2);
    let gone = service.leave("first", product).send().await;
    assert_eq!(gone.status, 204, "{gone:?}");
    assert_eq!(place().await["position"], 1);
    service.restock(product, 1).await.success(200);
    let offered = place().await;
    let order = &service.orders_of("ann", product).await[0];
    assert_eq!(offered["status"], "offered");
    assert_eq!(offered["order_id"], order["id"]);
    assert_eq!(offered["position"], Value::Null);

    // Also after the waitlist was disabled.
    let change = service.change(product, &json!({ "waitlist": false })).await;
    change.success(200);
    let place = assert_replay(&keyed(service, "bob", product, "k").send().await);
    assert_eq!(place["position"], 1);
    assert_eq!(shop.ledger.orders(product).await.len(), 2);
}

#[rstest]
#[case::sqlite(Backend::Sqlite)]
#[case::postgres(Backend::Postgres)]
#[tokio::test]
async fn the_key_of_a_place_is_refused_for_other_requests(#[case] backend: Backend) {
    let shop = Shop::open(backend).await;
    let service = shop.service();
    let product = service.sold_out().await;
    keyed(service, "ann", product, "k")
        .send()
        .await
        .success(202);

    for call in [
        service.order_or_wait("ann", product, 2),
        service.order("ann", product, 1),
    ] {
        let answer = call.key("k").send().await;
        answer.refusal(422, "idempotency_key_reused");
    }
    assert_eq!(shop.ledger.everything().await.1.len(), 1);
}

#[rstest]
#[case::sqlite(Backend::Sqlite)]
#[case::three_nodes(Backend::ThreeNodes)]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn fifty_requests_at_once_with_one_key_make_one_place(#[case] backend: Backend) {
    let shop = Shop::plan(backend).patient().open().await;
    let product = shop.service().sold_out().await;

    let nodes = shop.nodes.iter().cycle().take(50);
    let calls = nodes.map(|node| keyed(node, "ann", product, "k"));
    let answers = together(calls.collect()).await;

    assert!(
        answers
            .iter()
            .all(|answer| answer.success(202)["waitlist"]["position"] == 1)
    );
    let firsts = answers
        .iter()
        .filter(|answer| answer.header("idempotency-replayed").is_none());
    assert_eq!(firsts.count(), 1);
    assert_eq!(shop.ledger.entries(product).await.len(), 1);
}

#[rstest]
#[case::sqlite(Backend::Sqlite)]
#[case::postgres(Backend::Postgres)]
#[tokio::test]
async fn one_key_makes_a_place_for_each_product(#[case] backend: Backend) {
    let shop = Shop::open(backend).await;
    let service = shop.service();
    let products = [service.sold_out().await, service.sold_out().await];

    for product in products {
        let call = keyed(service, "ann", product, "k");
        let place = call.send().await.success(202);
        assert_eq!(place["waitlist"]["product_id"], json!(product));
        assert_replay(&keyed(service, "ann", product, "k").send().await);
    }
}
