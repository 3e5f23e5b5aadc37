//! Waitlist: one place per user, positions without gaps, no place lost or duplicated.

use std::collections::BTreeSet;

use rstest::rstest;
use serde_json::{Value, json};
use uuid::Uuid;

use crate::support::{
    front::Front,
    http::{Answer, Call},
    race::together,
    rival::Rival,
    shop::{Backend, Shop},
    tokens,
};

fn position(answer: &Answer) -> i64 {
    let place = &answer.success(202)["waitlist"];
    assert_eq!(place["status"], "waiting", "{place}");
    place["position"].as_i64().unwrap()
}

#[rstest]
#[case::all_units_in_one_order(10, 10, 1)]
#[case::one_unit_short(299, 1, 299)]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn three_hundred_buyers_get_an_order_or_a_place_each(
    #[case] stock: i64,
    #[case] quantity: i64,
    #[case] winners: usize,
    #[values(Backend::Sqlite, Backend::ThreeNodes)] backend: Backend,
) {
    let shop = Shop::plan(backend).patient().open().await;
    let terms = json!({ "hold_seconds": 600, "waitlist": true });
    let product = shop.service().product(stock, terms).await;

    let nodes = shop.nodes.iter().cycle().take(300).enumerate();
    let calls =
        nodes.map(|(buyer, node)| node.order_or_wait(&format!("buyer-{buyer}"), product, quantity));
    let answers = together(calls.collect()).await;

    let (orders, places): (Vec<_>, Vec<_>) = answers.iter().partition(|a| a.status == 201);
    assert_eq!(orders.len(), winners);
    let places: BTreeSet<i64> = places.into_iter().map(position).collect();
    let waiting = i64::try_from(300 - winners).unwrap();
    assert_eq!(places, (1..=waiting).collect());
    for (buyer, answer) in answers.iter().enumerate().filter(|(_, a)| a.status == 202) {
        let place = shop.nodes[buyer % shop.nodes.len()]
            .position(&format!("buyer-{buyer}"), product)
            .await;
        assert_eq!(place, Some(position(answer)));
        if buyer > 20 {
            break;
        }
    }
    let queue = shop.ledger.queue(product).await;
    assert_eq!(queue.len(), 300 - winners);
    shop.assert_books(product).await;
}

#[rstest]
#[case::sqlite(Backend::Sqlite)]
#[case::three_nodes(Backend::ThreeNodes)]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_user_has_one_place_per_product(#[case] backend: Backend) {
    let shop = Shop::plan(backend).patient().open().await;
    let product = shop.service().sold_out().await;

    let nodes = shop.nodes.iter().cycle().take(60);
    let calls = nodes.map(|node| node.order_or_wait("ann", product, 1));
    let answers = together(calls.collect()).await;

    assert!(answers.iter().all(|answer| position(answer) == 1));
    let again = shop.service().buy_or_wait("ann", product, 5).await;
    let place = again.success(202)["waitlist"].clone();
    assert_eq!(place["quantity"], 1, "the place that ann has");
    assert_eq!(shop.ledger.entries(product).await.len(), 1);
    let fields: Vec<String> = place.as_object().unwrap().keys().cloned().collect();
    for field in ["position", "quantity", "status", "product_id", "created_at"] {
        assert!(fields.iter().any(|name| name == field), "{fields:?}");
    }
}

#[tokio::test]
async fn joining_requires_the_flag_in_the_request_and_in_the_product() {
    let shop = Shop::open(Backend::Sqlite).await;
    let service = shop.service();
    let may = service.sold_out().await;
    let may_not = service.product(0, json!({})).await;

    let refusal = service.buy("ann", may, 1).await.refusal(409, "sold_out");
    assert_eq!(refusal["waitlist"], true);
    let answer = service.buy_or_wait("ann", may_not, 1).await;
    assert_eq!(answer.refusal(409, "sold_out")["waitlist"], false);
    assert!(shop.ledger.entries(may).await.is_empty());
    assert!(shop.ledger.entries(may_not).await.is_empty());

    // No place for a quantity that can never be served.
    let answer = service.buy_or_wait("ann", may, 11).await;
    answer.invalid("quantity");
    for odd in [json!(1), json!("true"), Value::Null] {
        let body = json!({ "product_id": may, "quantity": 1, "waitlist": odd });
        let call = service.post("/orders").bearer(&tokens::user("ann"));
        let answer = call.json(&body).send().await;
        answer.refusal(422, "invalid_request");
    }
}

#[rstest]
#[case::sqlite(Backend::Sqlite)]
#[case::postgres(Backend::Postgres)]
#[tokio::test]
async fn a_user_without_a_place_cannot_read_or_leave_one(#[case] backend: Backend) {
    let shop = Shop::open(backend).await;
    let service = shop.service();
    let product = service.sold_out().await;
    service.join("ann", product, 1).await;

    let unknown = Uuid::now_v7().to_string();
    for id in [
        &*product.to_string(),
        &unknown,
        "1",
        "%00",
        &"9".repeat(2_000),
    ] {
        for method in [reqwest::Method::GET, reqwest::Method::DELETE] {
            let path = format!("/products/{id}/waitlist");
            let call = || service.call(method.clone(), &path);
            let bob = call().bearer(&tokens::user("bob")).send().await;
            bob.refusal(404, "not_waiting");
            let admin = call().bearer(&tokens::admin()).send().await;
            admin.refusal(404, "not_waiting");
            call().send().await.refusal(401, "unauthenticated");
        }
    }
    assert_eq!(service.position("ann", product).await, Some(1));
}

/// Held and waiting units count together, for any mix of requests.
#[rstest]
#[case::sqlite(Backend::Sqlite)]
#[case::three_nodes(Backend::ThreeNodes)]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_hundred_requests_of_one_user_stay_within_the_limit(#[case] backend: Backend) {
    let shop = Shop::plan(backend).patient().open().await;
    let terms = json!({ "hold_seconds": 600, "waitlist": true, "max_per_user": 4 });
    let product = shop.service().product(3, terms).await;

    let nodes = shop.nodes.iter().cycle().take(200).enumerate();
    let calls = nodes.map(|(number, node)| match number % 3 {
        0 => node.order("ann", product, 1),
        1 => node.order_or_wait("ann", product, 1),
        _ => node.order_or_wait("ann", product, 2),
    });
    let answers = together(calls.collect()).await;

    for answer in &answers {
        let known = ["", "purchase_limit", "sold_out", "insufficient_stock"];
        assert!(known.contains(&&*answer.code()), "{answer:?}");
    }
    let entries = shop.ledger.entries(product).await;
    let waiting: i32 = entries.iter().map(|entry| entry.quantity).sum();
    let bought = shop.ledger.sold(product).await;
    assert!(entries.len() <= 1, "{entries:?}");
    assert_eq!(bought + i64::from(waiting), 4, "bought or waited for");

    shop.service().restock(product, 9).await.success(200);
    assert_eq!(
        shop.ledger.sold(product).await,
        4,
        "the place becomes an order"
    );
    let answer = shop.service().buy("ann", product, 1).await;
    let problem = answer.refusal(409, "purchase_limit");
    assert_eq!(
        (&problem["limit"], &problem["held"]),
        (&json!(4), &json!(4))
    );
    shop.assert_books(product).await;
}

#[rstest]
#[case::sqlite(Backend::Sqlite)]
#[case::postgres(Backend::Postgres)]
#[tokio::test]
async fn waiting_units_count_as_held(#[case] backend: Backend) {
    let shop = Shop::open(backend).await;
    let service = shop.service();
    let terms = json!({ "hold_seconds": 600, "waitlist": true, "max_per_user": 4 });
    let product = service.product(3, terms).await;
    service.buy("ann", product, 3).await.success(201);

    let answer = service.buy_or_wait("ann", product, 2).await;
    assert_eq!(answer.refusal(409, "purchase_limit")["held"], 3);
    service.join("ann", product, 1).await;
    service.join("bob", product, 4).await;
    for user in ["ann", "bob"] {
        let answer = service.buy(user, product, 1).await;
        assert_eq!(answer.refusal(409, "purchase_limit")["held"], 4);
    }
    let left = service.leave("bob", product).send().await;
    assert_eq!(left.status, 204, "{left:?}");
    service
        .buy("bob", product, 1)
        .await
        .refusal(409, "sold_out");
}

/// Another node keeps the lock busy until all commands are in one batch.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn joins_and_leaves_within_one_batch_keep_the_stock_invariant() {
    let shop = Shop::plan(Backend::Postgres).patient().open().await;
    let service = shop.service();
    let product = service.sold_out().await;
    service.join("ann", product, 1).await;

    for round in 0..6 {
        let rival = Rival::holds(&shop, product).await;
        let mut calls = Vec::new();
        for number in 0..60 {
            calls.push(match number % 5 {
                0 => service.leave("ann", product),
                3 => service.leave("bob", product),
                4 => service.order_or_wait(&format!("user-{round}-{number}"), product, 1),
                1 => service.order_or_wait("ann", product, 1),
                _ => service.order_or_wait("bob", product, 2),
            });
        }
        calls.push(restock(service, product));
        let release = async {
            let read = || async { service.metrics().await };
            let busy_tries = |metrics: test_support::metrics::Metrics| {
                let busy = [("outcome", "busy")];
                metrics.value("flash_sale_lock_acquire_total", &busy)
            };
            let before = busy_tries(read().await);
            crate::support::eventually(
                "the lane retries the lock",
                crate::support::SOON,
                async || {
                    let now = busy_tries(read().await);
                    crate::support::when(now > before.map(|before| before + 12.0))
                },
            )
            .await;
            rival.leaves(shop.redis()).await;
        };
        let (answers, ()) = tokio::join!(together(calls), release);
        for answer in &answers {
            let expected = [200, 201, 202, 204].contains(&answer.status);
            assert!(expected || answer.code() == "not_waiting", "{answer:?}");
        }
        shop.assert_books(product).await;
    }
}

fn restock(front: &Front, product: Uuid) -> Call {
    let path = format!("/products/{product}/restock");
    let call = front.post(&path).bearer(&tokens::admin());
    call.json(&json!({ "quantity": 2 }))
}
