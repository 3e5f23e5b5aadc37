//! Card testing: confirmations are bounded per order and per user.

use rstest::rstest;
use serde_json::json;
use uuid::Uuid;

use crate::support::{
    front::Front,
    gateway::Gateway,
    http::Answer,
    shop::{Backend, Shop},
};

const GOOD: &str = "pm_card_visa";
/// localstripe's name for a card that it attaches and then declines.
const DECLINING: &str = "pm_card_chargeCustomerFail";

async fn held(front: &Front, product: Uuid) -> Uuid {
    let order = front.buy("ann", product, 1).await.success(201);
    order["id"].as_str().unwrap().parse().unwrap()
}

async fn confirm(front: &Front, user: &str, order: Uuid, method: &str) -> Answer {
    front.pay(user, order, method).send().await
}

#[rstest]
#[case::sqlite(Backend::Sqlite)]
#[case::postgres(Backend::Postgres)]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ten_declined_payments_exhaust_an_order(#[case] backend: Backend) {
    let gateway = Gateway::start().await;
    let mut shop = Shop::plan(backend).paying(&gateway).open().await;
    let terms = json!({ "hold_seconds": 600 });
    let product = shop.service().product(3, terms).await;
    let order = held(shop.service(), product).await;
    let other = held(shop.service(), product).await;

    for _ in 0..10 {
        let answer = confirm(shop.service(), "ann", order, DECLINING).await;
        answer.refusal(402, "payment_declined");
    }
    shop.restart(0).await;
    let answer = confirm(shop.service(), "ann", order, GOOD).await;

    let refusal = answer.refusal(429, "rate_limited");
    assert_eq!(refusal["limit"], 10);
    let seconds = answer.retry_after();
    assert!((1..=600).contains(&seconds), "the hold's end: {seconds}");
    let orders = shop.service().orders_of("ann", product).await;
    assert!(orders.iter().all(|order| order["status"] == "pending"));
    assert_eq!(gateway.charges_of(order).await.len(), 0);
    let metrics = shop.service().metrics().await;
    let by_order = [("bound", "order")];
    assert!(metrics.shows("flash_sale_confirmations_refused_total", &by_order, 1));
    let answer = confirm(shop.service(), "ann", other, GOOD).await;
    answer.success(200);
    shop.assert_books(product).await;
}

/// The two nodes count together: each of them alone would admit all of these calls.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_user_is_bounded_over_all_nodes_and_others_are_not() {
    let shop = Shop::plan(Backend::Postgres).nodes(2).open().await;

    let (mut admitted, mut refused) = (0, 0);
    for number in 0..45 {
        let node = &shop.nodes[number % 2];
        let answer = confirm(node, "ann", Uuid::now_v7(), GOOD).await;
        if answer.status == 404 {
            answer.refusal(404, "order_not_found");
            admitted += 1;
            continue;
        }
        let refusal = answer.refusal(429, "rate_limited");
        assert_eq!(refusal["limit"], 30);
        answer.retry_after();
        refused += 1;
    }

    assert!(admitted >= 30 && refused > 0, "{admitted} {refused}");
    let answer = confirm(shop.service(), "bob", Uuid::now_v7(), GOOD).await;
    answer.refusal(404, "order_not_found");
    // Orders are counted apart from confirmations.
    let product = shop.service().product(1, json!({})).await;
    let order = shop.service().buy("ann", product, 1).await;
    order.success(201);
}
