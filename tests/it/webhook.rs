//! The webhook: only signed events of the last minutes count, and they prove nothing by themselves.

use rstest::rstest;
use serde_json::{Value, json};
use uuid::Uuid;

use crate::support::{
    gateway::{Fault, Gateway},
    shop::{Backend, Shop},
    tokens,
    webhook::{SECRET, call, event, send, signature, unix_time},
};

/// A shop, its product, and ann's order that holds the only unit.
async fn held(gateway: &Gateway) -> (Shop, Uuid, Uuid) {
    let plan = Shop::plan(Backend::Sqlite).paying(gateway);
    let shop = plan.set("STRIPE_WEBHOOK_SECRET", SECRET).open().await;
    let front = shop.service().front();
    let product = front.product(1, json!({ "hold_seconds": 600 })).await;
    let order = front.buy("ann", product, 1).await.success(201);
    (
        shop,
        product,
        order["id"].as_str().unwrap().parse().unwrap(),
    )
}

#[tokio::test]
async fn an_event_without_a_valid_signature_is_refused() {
    let gateway = Gateway::start().await;
    let plan = Shop::plan(Backend::Sqlite).paying(&gateway);
    let shop = plan.set("STRIPE_WEBHOOK_SECRET", SECRET).open().await;
    let front = shop.service().front();
    let body = event("payment_intent.succeeded", Uuid::now_v7(), &json!("pi_1"));

    for (secret, later, signed) in [
        ("whsec_other", 0, body.as_str()),
        (SECRET, -301, &body),
        (SECRET, 302, &body),
        (SECRET, 0, "{}"),
    ] {
        let header = signature(secret, unix_time(later), signed);
        let answer = call(&front, &header, &body).send().await;
        answer.refusal(400, "invalid_signature");
    }
    let unsigned = front.post("/webhooks/stripe").body(body.clone());
    unsigned.send().await.refusal(400, "invalid_signature");
    let large = "x".repeat(64 * 1024 + 1);
    let answer = call(&front, "t=1,v1=00", &large).send().await;
    answer.refusal(413, "payload_too_large");
    send(&front, "{}").await.refusal(400, "malformed_json");

    let metrics = shop.service().metrics().await;
    let refused = [("outcome", "refused")];
    assert!(metrics.shows("flash_sale_webhooks_total", &refused, 6));
}

#[tokio::test]
async fn a_signed_event_that_the_gateway_does_not_confirm_changes_nothing() {
    let gateway = Gateway::start().await;
    let (shop, product, id) = held(&gateway).await;
    let front = shop.service().front();
    let confirm = front.pay("ann", id, "pm_card_chargeCustomerFail");
    confirm.send().await.refusal(402, "payment_declined");
    let payment = gateway.intents_of(id).await[0]["id"].clone();

    for body in [
        event("payment_intent.succeeded", id, &payment),
        event("payment_intent.payment_failed", id, &payment),
        event("payment_intent.succeeded", Uuid::now_v7(), &payment),
        event("charge.refunded", id, &payment),
        json!({ "type": "payment_intent.succeeded", "data": { "object": null } }).to_string(),
    ] {
        let received = send(&front, &body).await.success(200);
        assert_eq!(received, json!({ "received": true }));
    }

    let read = front.get(&format!("/orders/{id}"));
    let read: Value = read.bearer(&tokens::user("ann")).send().await.success(200);
    assert_eq!(read["status"], "pending");
    shop.assert_books(product).await;
}

#[tokio::test]
async fn without_its_secret_the_webhook_does_not_exist() {
    let shop = Shop::open(Backend::Sqlite).await;
    let body = event("payment_intent.succeeded", Uuid::now_v7(), &json!("pi_1"));

    let answer = send(shop.service(), &body).await;

    answer.refusal(404, "not_found");
}

/// The event comes before the service knows how the charge has ended.
#[rstest]
#[case::a_lost_answer(Fault::LoseAnswer)]
#[case::an_early_answer(Fault::Processing)]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_event_confirms_an_order_whose_payment_is_open(#[case] fault: Fault) {
    let gateway = Gateway::start().await;
    let (shop, product, id) = held(&gateway).await;
    let front = shop.service().front();
    gateway.set(fault).await;
    let paid = front.pay("ann", id, "pm_card_visa").send().await;
    paid.refusal(503, "outcome_unknown");
    gateway.set(Fault::None).await;

    let payment = gateway.intents_of(id).await[0]["id"].clone();
    let body = event("payment_intent.succeeded", id, &payment);
    send(&front, &body).await.success(200);

    let read = front.get(&format!("/orders/{id}"));
    let read: Value = read.bearer(&tokens::user("ann")).send().await.success(200);
    assert_eq!(read["status"], "confirmed");
    assert_eq!(read["payment"]["id"], payment);
    shop.assert_books(product).await;
}
