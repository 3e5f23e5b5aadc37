//! `POST /orders/{id}/cancel`: only the order's user or an admin may cancel; units return once.

use std::collections::BTreeMap;

use rstest::rstest;
use serde_json::{Value, json};
use uuid::Uuid;

use crate::support::{
    SOON, eventually,
    front::Front,
    race::together,
    shop::{Backend, Shop},
    tokens, when,
};

fn id(order: &Value) -> String {
    order["id"].as_str().unwrap().to_owned()
}

async fn hold(front: &Front, user: &str, product: Uuid) -> String {
    id(&front.buy(user, product, 2).await.success(201))
}

#[rstest]
#[case::sqlite(Backend::Sqlite)]
#[case::three_nodes(Backend::ThreeNodes)]
#[tokio::test]
async fn the_user_and_an_admin_may_cancel_a_pending_order(#[case] backend: Backend) {
    let shop = Shop::open(backend).await;
    let (service, last) = (shop.service(), shop.nodes.last().unwrap());
    let product = service.product(4, json!({ "hold_seconds": 600 })).await;
    let [own, admins] = [
        hold(service, "ann", product).await,
        hold(service, "bob", product).await,
    ];
    let refusal = service.buy("carl", product, 1).await;
    refusal.refusal(409, "sold_out");

    for (token, order, stock) in [(tokens::user("ann"), own, 2), (tokens::admin(), admins, 4)] {
        let answer = last.cancel(&token, &order).send().await.success(200);
        assert_eq!(
            (&answer["id"], &answer["status"]),
            (&json!(order), &json!("cancelled"))
        );
        let read = service.get(&format!("/orders/{order}")).bearer(&token);
        assert_eq!(read.send().await.success(200), answer);
        assert_eq!(shop.ledger.product(product).await.stock, stock);
    }

    service.buy("carl", product, 4).await.success(201);
    shop.assert_books(product).await;
}

#[rstest]
#[case::sqlite(Backend::Sqlite)]
#[case::postgres(Backend::Postgres)]
#[tokio::test]
async fn a_refused_cancel_changes_nothing(#[case] backend: Backend) {
    let shop = Shop::open(backend).await;
    let service = shop.service();
    let product = service.product(20, json!({ "hold_seconds": 600 })).await;
    let order = hold(service, "ann", product).await;
    let (ann, bob, admin) = (tokens::user("ann"), tokens::user("bob"), tokens::admin());
    let before = shop.ledger.everything().await;

    let unknown = Uuid::now_v7().to_string();
    let long = "1".repeat(3_000);
    for (token, id) in [
        (&bob, order.as_str()),
        (&ann, &unknown),
        (&admin, &unknown),
        (&ann, "1"),
        (&ann, "%00"),
        (&admin, "%F0%9F%92%A9"),
        (&ann, "..%2F"),
        (&ann, &long),
        (&ann, &product.to_string()),
    ] {
        let answer = service.cancel(token, id).send().await;
        answer.refusal(404, "order_not_found");
    }
    let path = format!("/orders/{order}/cancel");
    let anonymous = service.post(&path).send().await;
    anonymous.refusal(401, "unauthenticated");
    let forged = service.cancel(&tokens::unsigned(), &order).send().await;
    forged.refusal(401, "unauthenticated");
    let read = service.get(&path).bearer(&ann).send().await;
    assert_eq!(read.status, 405, "{read:?}");

    assert_eq!(shop.ledger.everything().await, before);
}

#[rstest]
#[case::sqlite(Backend::Sqlite)]
#[case::postgres(Backend::Postgres)]
#[tokio::test]
async fn a_cancel_of_an_order_that_is_not_pending_reports_its_status(#[case] backend: Backend) {
    let shop = Shop::open(backend).await;
    let service = shop.service();
    let product = service.product(20, json!({ "hold_seconds": 600 })).await;
    let sold = service.product(20, json!({})).await;
    let mut orders = BTreeMap::new();
    for status in ["cancelled", "expired", "confirming"] {
        orders.insert(status, hold(service, status, product).await);
    }
    orders.insert("confirmed", hold(service, "confirmed", sold).await);
    let cancelled = tokens::user("cancelled");
    let answer = service
        .cancel(&cancelled, &orders["cancelled"])
        .send()
        .await;
    answer.success(200);
    let change = "UPDATE orders SET status = 'confirming' WHERE user_id = 'confirming'";
    shop.ledger.execute(change).await;
    let past = crate::support::in_seconds(-1);
    let change = format!("UPDATE orders SET expires_at = '{past}' WHERE user_id = 'expired'");
    shop.ledger.execute(&change).await;

    // Before and after the expiry job has processed the hold.
    for _ in 0..2 {
        for (status, order) in &orders {
            let answer = service.cancel(&tokens::user(status), order).send().await;
            let problem = answer.refusal(409, "order_not_pending");
            assert_eq!(problem["order_status"], *status, "{problem}");
            if *status != "confirmed" {
                let answer = service.cancel(&tokens::admin(), order).send().await;
                assert_eq!(answer.problem()["order_status"], *status, "{answer:?}");
            }
        }
        eventually("the hold ends", SOON, async || {
            when(shop.ledger.product(product).await.stock == 18)
        })
        .await;
    }
    shop.assert_books(product).await;
}

#[rstest]
#[case::sqlite(Backend::Sqlite)]
#[case::postgres(Backend::Postgres)]
#[tokio::test]
async fn an_admin_may_cancel_an_unpaid_confirmed_order(#[case] backend: Backend) {
    let shop = Shop::open(backend).await;
    let service = shop.service();
    let product = service.product(2, json!({})).await;
    let order = hold(service, "ann", product).await;

    let answer = service.cancel(&tokens::admin(), &order).send().await;
    assert_eq!(answer.success(200)["status"], "cancelled");
    let again = service.cancel(&tokens::admin(), &order).send().await;
    let problem = again.refusal(409, "order_not_pending");
    assert_eq!(problem["order_status"], "cancelled");

    assert_eq!(shop.ledger.product(product).await.stock, 2);
    shop.assert_books(product).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn fifty_concurrent_cancels_return_the_units_once() {
    let plan = Shop::plan(Backend::Postgres).nodes(2);
    let shop = plan.set("LOCK_PATIENCE_MS", "4000").open().await;
    let product = shop
        .service()
        .product(9, json!({ "hold_seconds": 600 }))
        .await;

    for round in 0..4 {
        let order = hold(shop.service(), "ann", product).await;
        let tokens = [tokens::user("ann"), tokens::admin()];
        let calls = (0..50).map(|call| {
            let node = &shop.nodes[call % 2];
            node.cancel(&tokens[call / 2 % 2], &order)
        });
        let answers = together(calls.collect()).await;
        let successes = answers.iter().filter(|answer| answer.status == 200);
        assert_eq!(successes.count(), 1, "round {round}: {answers:?}");
        for answer in answers.iter().filter(|answer| answer.status != 200) {
            let problem = answer.refusal(409, "order_not_pending");
            assert_eq!(problem["order_status"], "cancelled");
        }
        assert_eq!(shop.ledger.product(product).await.stock, 9);
    }
    shop.assert_books(product).await;
}

#[rstest]
#[case::sqlite(Backend::Sqlite)]
#[case::postgres(Backend::Postgres)]
#[tokio::test]
async fn the_key_of_a_cancelled_order_replays_it(#[case] backend: Backend) {
    let shop = Shop::open(backend).await;
    let service = shop.service();
    let product = service.product(5, json!({ "hold_seconds": 600 })).await;
    let call = || service.order("ann", product, 1).key("k");
    let order = id(&call().send().await.success(201));
    let cancelled = service.cancel(&tokens::user("ann"), &order).send().await;
    let cancelled = cancelled.success(200);

    let replay = call().send().await;

    assert_eq!(replay.header("idempotency-replayed"), Some("true"));
    assert_eq!(replay.success(201), cancelled);
    assert_eq!(shop.ledger.orders(product).await.len(), 1);
}
