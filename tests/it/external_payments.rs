//! Orders that were paid outside of the service: an admin confirms them, and the shop refunds them.

use rstest::rstest;
use serde_json::{Value, json};
use uuid::Uuid;

use crate::support::{
    front::Front,
    http::Answer,
    shop::{Backend, Shop},
    tokens,
};

async fn held(front: &Front, product: Uuid) -> String {
    let order = front.buy("ann", product, 1).await.success(201);
    order["id"].as_str().unwrap().to_owned()
}

async fn confirm(front: &Front, token: &str, order: &str, body: &Value) -> Answer {
    let call = front.post(&format!("/orders/{order}/confirm"));
    call.bearer(token).json(body).send().await
}

fn paid_by(provider: &str, reference: &str) -> Value {
    json!({ "external_payment": { "provider": provider, "reference": reference } })
}

#[rstest]
#[case::sqlite(Backend::Sqlite)]
#[case::postgres(Backend::Postgres)]
#[tokio::test]
async fn an_outside_payment_confirms_once_and_is_to_be_refunded_outside(#[case] backend: Backend) {
    let shop = Shop::open(backend).await;
    let service = shop.service();
    let admin = tokens::admin();
    let terms = json!({ "hold_seconds": 600 });
    let product = service.product(2, terms).await;
    let order = held(service, product).await;
    let payment = paid_by("paypal", "PAY-1");

    let confirmed = confirm(service, &admin, &order, &payment)
        .await
        .success(200);
    assert_eq!(confirmed["status"], "confirmed");
    assert_eq!(
        confirmed["external_payment"],
        json!({ "provider": "paypal", "reference": "PAY-1" })
    );
    let again = confirm(service, &admin, &order, &payment)
        .await
        .success(200);
    assert_eq!(again, confirmed);
    for other in [paid_by("paypal", "PAY-2"), paid_by("klarna", "PAY-1")] {
        let answer = confirm(service, &admin, &order, &other).await;
        let refusal = answer.refusal(409, "order_not_pending");
        assert_eq!(refusal["order_status"], "confirmed");
    }
    let card = json!({ "payment_method": "pm_card_visa" });
    let mine = confirm(service, &tokens::user("ann"), &order, &card).await;
    assert_eq!(mine.success(200), confirmed, "its buyer may confirm again");

    let trail = service.get("/audit").query(&[("target", &order)]);
    let trail = trail.bearer(&admin).send().await.success(200);
    assert_eq!(trail["audit"].as_array().unwrap().len(), 1, "{trail}");
    assert_eq!(trail["audit"][0]["action"], "order.confirm");
    let after = &trail["audit"][0]["after"];
    assert_eq!(after["external_payment"]["reference"], "PAY-1");

    let cancelled = service.cancel(&admin, &order).send().await.success(200);
    assert_eq!(cancelled["status"], "cancelled");
    assert_eq!(
        cancelled["external_payment"]["refund_due"],
        json!({ "amount": 1999, "currency": "EUR" })
    );
    let read = service.get(&format!("/orders/{order}"));
    let read = read.bearer(&tokens::user("ann")).send().await.success(200);
    assert_eq!(read, cancelled);
    let answer = confirm(service, &admin, &order, &payment).await;
    answer.refusal(409, "order_not_pending");
    assert_eq!(shop.ledger.product(product).await.stock, 2);
    shop.assert_books(product).await;
}

#[tokio::test]
async fn only_an_admin_confirms_with_one_complete_outside_payment() {
    let shop = Shop::open(Backend::Sqlite).await;
    let service = shop.service();
    let terms = json!({ "hold_seconds": 600 });
    let product = service.product(1, terms).await;
    let order = held(service, product).await;
    let payment = paid_by("paypal", "PAY-1");

    let buyer = confirm(service, &tokens::user("ann"), &order, &payment).await;
    buyer.refusal(403, "forbidden");
    let mut both = payment.clone();
    both["payment_method"] = json!("pm_card_visa");
    for (body, field) in [
        (both, "external_payment"),
        (json!({}), "payment_method"),
        (paid_by("", "PAY-1"), "external_payment.provider"),
        (paid_by("paypal", ""), "external_payment.reference"),
        (paid_by("paypal", "a\u{0}"), "external_payment.reference"),
        (
            paid_by("paypal", &"x".repeat(256)),
            "external_payment.reference",
        ),
        (
            json!({ "external_payment": { "provider": "paypal" } }),
            "reference",
        ),
    ] {
        let answer = confirm(service, &tokens::admin(), &order, &body).await;
        answer.invalid(field);
    }
    let missing = Uuid::now_v7().to_string();
    let answer = confirm(service, &tokens::admin(), &missing, &payment).await;
    answer.refusal(404, "order_not_found");

    let orders = service.orders_of("ann", product).await;
    assert_eq!(orders[0]["status"], "pending");
}

/// Nobody but an admin can confirm its orders, which expire else.
#[tokio::test]
async fn a_hold_without_a_gateway_is_warned_about() {
    let mut shop = Shop::open(Backend::Sqlite).await;
    let service = shop.service();

    service.product(1, json!({})).await;
    let free = json!({ "hold_seconds": 600, "price": 0 });
    service.product(1, free).await;
    assert!(!shop.log().contains("PAYMENTS is none"), "{}", shop.log());
    let sku = json!({ "hold_seconds": 600, "sku": "held-in-vain" });
    service.product(1, sku).await;
    let warning = shop.log();
    assert!(warning.contains("PAYMENTS is none"), "{warning}");
    assert!(warning.contains("held-in-vain"), "{warning}");
    shop.restart(0).await;

    let warning = shop.log_of(1);
    assert!(warning.contains("PAYMENTS is none"), "{warning}");
}
