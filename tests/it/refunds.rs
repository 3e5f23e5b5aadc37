//! Refunds: an admin cancels a confirmed order; its payment is refunded once, then units return.

use rstest::rstest;
use serde_json::json;
use uuid::Uuid;

use crate::support::{
    SOON, eventually,
    front::Front,
    gateway::{Fault, Gateway},
    http::Answer,
    shop::{Backend, Shop},
    tokens, when,
};

struct Paid {
    gateway: Gateway,
    shop: Shop,
    product: Uuid,
    order: Uuid,
}

/// A shop whose only unit is sold and paid.
async fn paid(backend: Backend) -> Paid {
    let gateway = Gateway::start().await;
    let plan = Shop::plan(backend)
        .paying(&gateway)
        .set("REQUEST_TIMEOUT_MS", "3000");
    let shop = plan.open().await;
    let service = shop.service();
    let product = service.product(1, json!({ "hold_seconds": 600 })).await;
    let order = service.buy("ann", product, 1).await.success(201);
    let order: Uuid = order["id"].as_str().unwrap().parse().unwrap();
    let call = service.pay("ann", order, "pm_card_visa");
    call.send().await.success(200);
    Paid {
        gateway,
        shop,
        product,
        order,
    }
}

async fn cancel(front: &Front, token: &str, order: Uuid) -> Answer {
    front.cancel(token, &order.to_string()).send().await
}

#[rstest]
#[case::sqlite(Backend::Sqlite)]
#[case::postgres(Backend::Postgres)]
#[tokio::test]
async fn the_payment_is_refunded_before_the_units_return(#[case] backend: Backend) {
    let paid = paid(backend).await;
    let service = paid.shop.service();

    let buyer = cancel(service, &tokens::user("ann"), paid.order).await;
    let refusal = buyer.refusal(409, "order_not_pending");
    assert_eq!(refusal["order_status"], "confirmed");
    assert!(paid.gateway.refunds_of(paid.order).await.is_empty());

    let undone = cancel(service, &tokens::admin(), paid.order)
        .await
        .success(200);
    assert_eq!(undone["status"], "cancelled");
    assert_eq!(undone["payment"]["status"], "refunded");
    let refunding = "SELECT actor_role FROM audit WHERE action = 'order.refund'";
    assert_eq!(paid.shop.ledger.texts(refunding).await, ["admin"]);
    assert_eq!(paid.gateway.refunds_of(paid.order).await.len(), 1);
    assert_eq!(paid.shop.ledger.product(paid.product).await.stock, 1);
    let again = cancel(service, &tokens::admin(), paid.order).await;
    again.refusal(409, "order_not_pending");
    assert_eq!(paid.gateway.refunds_of(paid.order).await.len(), 1);
    let told = audit(&paid).await;
    assert_eq!(
        told,
        ["order.refund by the-admin", "order.cancel by the-admin"]
    );
    paid.shop.assert_books(paid.product).await;
}

/// What the audit trail says about the order, without a payment method.
async fn audit(paid: &Paid) -> Vec<String> {
    let mut rows = paid.shop.ledger.audit().await;
    rows.retain(|row| row.target == paid.order);
    assert!(!format!("{rows:?}").contains("pm_card_visa"));
    let told = rows.iter();
    told.map(|row| format!("{} by {}", row.action, row.actor))
        .collect()
}

#[rstest]
#[case::lost_answer(Fault::LoseAnswer)]
#[case::server_error(Fault::Status(500))]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_unfinished_refund_is_completed_once(
    #[case] fault: Fault,
    #[values(Backend::Sqlite, Backend::Postgres)] backend: Backend,
) {
    let paid = paid(backend).await;
    let service = paid.shop.service();

    paid.gateway.set(fault).await;
    let answer = cancel(service, &tokens::admin(), paid.order).await;
    answer.refusal(503, "outcome_unknown");
    assert_eq!(paid.shop.ledger.product(paid.product).await.stock, 0);
    paid.gateway.set(Fault::None).await;

    eventually("the unit is returned", SOON, async || {
        when(paid.shop.ledger.product(paid.product).await.stock == 1)
    })
    .await;
    assert_eq!(paid.gateway.refunds_of(paid.order).await.len(), 1);
    let told = audit(&paid).await;
    assert_eq!(
        told,
        ["order.refund by the-admin", "order.cancel by flash-sale"]
    );
    paid.shop.assert_books(paid.product).await;
}

/// The gateway repeats a refusal under the same key.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_refused_refund_is_asked_for_again_as_another() {
    let paid = paid(Backend::Sqlite).await;
    let service = paid.shop.service();
    paid.gateway.set(Fault::Refuse).await;
    let refused = cancel(service, &tokens::admin(), paid.order).await;
    refused.refusal(503, "unavailable");
    paid.gateway.set(Fault::None).await;

    let again = cancel(service, &tokens::admin(), paid.order).await;

    assert_eq!(again.success(200)["status"], "cancelled");
    assert_eq!(paid.gateway.refunds_of(paid.order).await.len(), 1);
    paid.shop.assert_books(paid.product).await;
}
