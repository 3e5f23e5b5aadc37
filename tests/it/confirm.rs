//! Payment of a pending order: charged once and confirmed once, never only one of the two.

use reqwest::Method;
use rstest::rstest;
use serde_json::{Value, json};
use tokio::task::JoinSet;
use uuid::Uuid;

use crate::support::{
    SOON, eventually,
    front::Front,
    gateway::{Fault, Gateway},
    http::Answer,
    shop::{Backend, Plan, Shop},
    tokens, when,
};

const GOOD: &str = "pm_card_visa";
/// localstripe's name for a card that it attaches and then declines.
const DECLINING: &str = "pm_card_chargeCustomerFail";

/// A shop whose gateway is localstripe.
async fn paying(backend: Backend) -> (Gateway, Plan) {
    let gateway = Gateway::start().await;
    let plan = Shop::plan(backend)
        .paying(&gateway)
        .set("REQUEST_TIMEOUT_MS", "3000");
    (gateway, plan)
}

async fn held(front: &Front, product: Uuid, user: &str) -> Uuid {
    let order = front.buy(user, product, 1).await.success(201);
    assert_eq!(order["status"], "pending");
    order["id"].as_str().unwrap().parse().unwrap()
}

async fn confirm(front: &Front, user: &str, order: Uuid, method: &str) -> Answer {
    front.pay(user, order, method).send().await
}

async fn status(front: &Front, order: Uuid) -> String {
    let call = front.get(&format!("/orders/{order}"));
    let order = call.bearer(&tokens::admin()).send().await.success(200);
    order["status"].as_str().unwrap().to_owned()
}

fn one_with_hold(seconds: i64) -> Value {
    json!({ "hold_seconds": seconds })
}

#[rstest]
#[case::sqlite(Backend::Sqlite)]
#[case::postgres(Backend::Postgres)]
#[tokio::test]
async fn a_paid_order_is_confirmed_and_charged_once(#[case] backend: Backend) {
    let (gateway, plan) = paying(backend).await;
    let shop = plan.open().await;
    let service = shop.service();
    let product = service.product(3, one_with_hold(600)).await;
    let order = held(service, product, "ann").await;

    let declined = confirm(service, "ann", order, DECLINING).await;
    declined.refusal(402, "payment_declined");
    assert_eq!(
        status(service, order).await,
        "pending",
        "the hold continues"
    );
    let confirmed = confirm(service, "ann", order, GOOD).await.success(200);

    assert_eq!(confirmed["status"], "confirmed");
    assert_eq!(confirmed["payment"]["status"], "succeeded");
    assert!(confirmed["confirmed_at"].is_string());
    // The first answer may have been lost.
    let again = confirm(service, "ann", order, GOOD).await.success(200);
    assert_eq!(again, confirmed);
    let charges = gateway.charges_of(order).await;
    assert_eq!(charges.len(), 1, "{charges:?}");
    assert_eq!(charges[0]["amount"], 1999);
    shop.assert_books(product).await;
}

#[rstest]
#[case::sqlite(Backend::Sqlite)]
#[case::postgres(Backend::Postgres)]
#[tokio::test]
async fn a_refused_payment_reports_the_reason_and_charges_nothing(#[case] backend: Backend) {
    let (gateway, plan) = paying(backend).await;
    let shop = plan.open().await;
    let service = shop.service();
    let product = service.product(3, one_with_hold(600)).await;
    let order = held(service, product, "ann").await;
    let cancelled = held(service, product, "ann").await;
    let cancel = service.post(&format!("/orders/{cancelled}/cancel"));
    cancel
        .bearer(&tokens::user("ann"))
        .send()
        .await
        .success(200);

    for (user, order) in [
        ("bob", order),
        ("the-admin", order),
        ("ann", Uuid::now_v7()),
    ] {
        confirm(service, user, order, GOOD)
            .await
            .refusal(404, "order_not_found");
    }
    let refusal = confirm(service, "ann", cancelled, GOOD)
        .await
        .refusal(409, "order_not_pending");
    assert_eq!(refusal["order_status"], "cancelled");
    let path = format!("/orders/{order}/confirm");
    for method in [
        json!(""),
        json!("x".repeat(256)),
        json!("a b"),
        json!("a\u{0}"),
        json!("ü"),
        json!(7),
    ] {
        let call = service
            .call(Method::POST, &path)
            .bearer(&tokens::user("ann"));
        let answer = call.json(&json!({ "payment_method": method })).send().await;
        answer.invalid("payment_method");
    }
    let anonymous = service
        .post(&path)
        .json(&json!({ "payment_method": GOOD }))
        .send()
        .await;
    anonymous.refusal(401, "unauthenticated");

    assert!(gateway.charges_of(order).await.is_empty());
    assert!(gateway.charges_of(cancelled).await.is_empty());
    assert_eq!(status(service, order).await, "pending");
}

#[rstest]
#[case::sqlite(Backend::Sqlite)]
#[case::three_nodes(Backend::ThreeNodes)]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_of_many_concurrent_confirmations_pays(#[case] backend: Backend) {
    let (gateway, plan) = paying(backend).await;
    let shop = plan.open().await;
    let product = shop.service().product(1, one_with_hold(600)).await;
    let order = held(shop.service(), product, "ann").await;

    let mut calls = JoinSet::new();
    for node in shop.nodes.iter().cycle().take(24) {
        let front = node.front();
        calls.spawn(async move { confirm(&front, "ann", order, GOOD).await });
    }
    let answers = calls.join_all().await;

    assert!(answers.iter().any(|answer| answer.status == 200));
    for answer in &answers {
        // Calls that came later find the order confirmed.
        if answer.status == 200 {
            assert_eq!(answer.success(200)["status"], "confirmed");
        } else {
            let refusal = answer.refusal(409, "order_not_pending");
            assert_eq!(refusal["order_status"], "confirming");
        }
    }
    assert_eq!(gateway.charges_of(order).await.len(), 1);
}

/// After any gateway fault in the first attempt the order is confirmed and charged once.
#[rstest]
#[case::lost_answer(Fault::LoseAnswer)]
#[case::no_answer(Fault::HoldAnswer)]
#[case::hangs(Fault::Hold)]
#[case::server_error(Fault::Status(500))]
#[case::garbage(Fault::Garbage)]
#[case::other_amount(Fault::WrongAmount)]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_order_with_an_unknown_payment_outcome_is_confirmed(
    #[case] fault: Fault,
    #[values((Backend::Sqlite, 1), (Backend::Postgres, 2))] (backend, nodes): (Backend, usize),
) {
    let (gateway, plan) = paying(backend).await;
    let shop = plan.nodes(nodes).open().await;
    let service = shop.service();
    let product = service.product(1, one_with_hold(2)).await;
    let order = held(service, product, "ann").await;

    gateway.set(fault).await;
    let answer = confirm(service, "ann", order, GOOD).await;
    let refusal = answer.refusal(503, "outcome_unknown");
    assert_eq!(refusal["order_id"], order.to_string());
    answer.retry_after();
    gateway.set(Fault::None).await;

    eventually("the order is confirmed", SOON, async || {
        when(status(service, order).await == "confirmed")
    })
    .await;
    assert_eq!(gateway.charges_of(order).await.len(), 1, "charged once");
    shop.assert_books(product).await;
}

/// The service is killed during the gateway call; the hold is over when the service restarts.
#[rstest]
#[case::sqlite(Backend::Sqlite)]
#[case::postgres(Backend::Postgres)]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_order_charged_before_a_crash_is_confirmed(#[case] backend: Backend) {
    let (gateway, plan) = paying(backend).await;
    let mut shop = plan.open().await;
    let product = shop.service().product(1, one_with_hold(1)).await;
    let order = held(shop.service(), product, "ann").await;

    gateway.set(Fault::HoldAnswer).await;
    let front = shop.service().front();
    let request = tokio::time::timeout(SOON, async {
        front.pay("ann", order, GOOD).try_send().await
    });
    let kill = async {
        eventually("the order is charged", SOON, async || {
            when(gateway.charges_of(order).await.len() == 1)
        })
        .await;
        shop.nodes[0].process.kill();
    };
    let (answer, ()) = tokio::join!(request, kill);
    assert!(answer.unwrap().is_err(), "the crash breaks the request");
    gateway.set(Fault::None).await;
    shop.restart(0).await;

    eventually("the order is confirmed", SOON, async || {
        when(status(shop.service(), order).await == "confirmed")
    })
    .await;
    assert_eq!(gateway.charges_of(order).await.len(), 1, "charged once");
    shop.assert_books(product).await;
}

#[tokio::test]
async fn an_unreachable_gateway_leaves_the_hold_unchanged() {
    let (gateway, plan) = paying(Backend::Sqlite).await;
    let shop = plan.open().await;
    let service = shop.service();
    let product = service.product(1, one_with_hold(600)).await;
    let order = held(service, product, "ann").await;

    gateway.set(Fault::Down).await;
    let answer = confirm(service, "ann", order, GOOD).await;
    answer.refusal(503, "unavailable");
    assert_eq!(status(service, order).await, "pending");
    gateway.set(Fault::None).await;

    confirm(service, "ann", order, GOOD).await.success(200);
    assert_eq!(gateway.charges_of(order).await.len(), 1);
}

#[tokio::test]
async fn without_a_gateway_only_free_orders_are_confirmed() {
    let shop = Shop::open(Backend::Sqlite).await;
    let service = shop.service();
    let product = service.product(1, one_with_hold(600)).await;
    let order = held(service, product, "ann").await;

    let answer = confirm(service, "ann", order, GOOD).await;
    answer.refusal(409, "payments_disabled");
    assert_eq!(status(service, order).await, "pending");
    let free = service
        .product(1, json!({ "hold_seconds": 600, "price": 0 }))
        .await;
    let order = held(service, free, "ann").await;
    let confirmed = confirm(service, "ann", order, GOOD).await.success(200);
    assert_eq!(
        confirmed["payment"],
        Value::Null,
        "there was nothing to pay"
    );
}
