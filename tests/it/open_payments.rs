//! A payment that stays open is seen by the operator, who can end it.

use rstest::rstest;
use serde_json::{Value, json};
use tokio::task::JoinSet;
use uuid::Uuid;

use crate::support::{
    SOON, eventually,
    front::Front,
    gateway::{Fault, Gateway},
    http::Answer,
    in_seconds,
    shop::{Backend, Shop},
    tokens, when,
};

const DAY: i64 = 86_400;

struct Sale {
    gateway: Gateway,
    shop: Shop,
    product: Uuid,
    order: Uuid,
}

impl Sale {
    /// A shop whose only unit is held by ann.
    async fn open(backend: Backend) -> Self {
        let gateway = Gateway::start().await;
        let shop = Shop::plan(backend).paying(&gateway).open().await;
        let service = shop.service();
        let product = service.product(1, json!({ "hold_seconds": 600 })).await;
        let order = service.buy("ann", product, 1).await.success(201);
        Self {
            gateway,
            product,
            order: order["id"].as_str().unwrap().parse().unwrap(),
            shop,
        }
    }

    /// Makes the order's row that of a payment or refund that has begun a day ago.
    async fn forget(&self, changes: &str) {
        let day_ago = in_seconds(-DAY);
        let update = format!(
            "UPDATE orders SET payment_begun_at = '{day_ago}', payment_asked_at = '{day_ago}', \
             {changes}"
        );
        self.shop.ledger.execute(&update).await;
    }

    async fn resolve(&self, token: &str, paid: bool) -> Answer {
        let path = format!("/orders/{}/resolve", self.order);
        let call = self.shop.service().post(&path).bearer(token);
        call.json(&json!({ "paid": paid })).send().await
    }

    async fn open_count(&self, state: &str) -> Option<f64> {
        let metrics = self.shop.service().metrics().await;
        metrics.value("flash_sale_payments_open", &[("state", state)])
    }
}

async fn confirm(front: Front, order: Uuid) -> Answer {
    front.pay("ann", order, "pm_card_visa").send().await
}

const OPEN_PAYMENT: &str = "status = 'confirming', payment_attempt = 1, payment_method = 'pm_x'";

#[rstest]
#[case::paid(true, "confirmed")]
#[case::unpaid(false, "pending")]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_payment_left_to_people_is_reported_until_an_admin_resolves_it(
    #[case] paid: bool,
    #[case] status: &str,
    #[values(Backend::Sqlite, Backend::Postgres)] backend: Backend,
) {
    let sale = Sale::open(backend).await;
    sale.forget(OPEN_PAYMENT).await;

    eventually("the metric counts it", SOON, async || {
        when(sale.open_count("left").await? > 0.0)
    })
    .await;
    let metrics = sale.shop.service().metrics().await;
    let age = metrics.value("flash_sale_payments_open_age_seconds", &[("state", "left")]);
    assert!(age.is_some_and(|age| age >= 86_400.0), "{age:?}");
    let log = sale.shop.log();
    let line = log.lines().find(|line| line.contains("/resolve"));
    let order = sale.order.to_string();
    assert!(
        line.is_some_and(|line| line.contains("ERROR") && line.contains(&order)),
        "{log}"
    );
    let verified = sale.shop.verify();
    let printed = String::from_utf8_lossy(&verified.stdout);
    assert!(
        printed.contains(&order) && verified.status.success(),
        "{printed}"
    );

    let buyer = sale.resolve(&tokens::user("ann"), true).await;
    buyer.refusal(403, "forbidden");
    let resolved = sale.resolve(&tokens::admin(), paid).await.success(200);
    assert_eq!(resolved["status"], status);
    let audit = "SELECT actor_role || ' ' || after FROM audit WHERE action = 'order.resolve'";
    let rows = sale.shop.ledger.texts(audit).await;
    assert_eq!(rows.len(), 1, "{rows:?}");
    assert!(
        rows[0].starts_with("admin ") && rows[0].contains(&format!("\"paid\":{paid}")),
        "{rows:?}"
    );
    let again = sale.resolve(&tokens::admin(), paid).await;
    assert_eq!(
        again.refusal(409, "order_not_pending")["order_status"],
        status
    );
    eventually("the metric is back", SOON, async || {
        when(sale.open_count("left").await? == 0.0)
    })
    .await;
    assert!(sale.gateway.intents_of(sale.order).await.is_empty());
    sale.shop.assert_books(sale.product).await;
}

#[rstest]
#[case::the_shop_has_the_money(true, "confirmed", "succeeded", 0)]
#[case::the_buyer_has_it(false, "cancelled", "refunded", 1)]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_admin_resolves_a_refund(
    #[case] paid: bool,
    #[case] status: &str,
    #[case] payment: &str,
    #[case] stock: i32,
    #[values(Backend::Sqlite, Backend::Postgres)] backend: Backend,
) {
    let sale = Sale::open(backend).await;
    confirm(sale.shop.service().front(), sale.order)
        .await
        .success(200);
    sale.forget("payment_status = 'refunding'").await;

    let resolved = sale.resolve(&tokens::admin(), paid).await.success(200);

    assert_eq!(
        (&resolved["status"], &resolved["payment"]["status"]),
        (&json!(status), &json!(payment))
    );
    assert_eq!(sale.shop.ledger.product(sale.product).await.stock, stock);
    assert!(sale.gateway.refunds_of(sale.order).await.is_empty());
    sale.shop.assert_books(sale.product).await;
}

/// The gateway's answer arrives after the admin's.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_resolved_order_takes_the_payment_that_the_gateway_names_later() {
    let sale = Sale::open(Backend::Postgres).await;
    sale.gateway.set(Fault::HoldAnswer).await;
    let paying = JoinSet::from_iter([confirm(sale.shop.service().front(), sale.order)]);
    eventually("the order is charged", SOON, async || {
        when(sale.gateway.charges_of(sale.order).await.len() == 1)
    })
    .await;

    let resolved = sale.resolve(&tokens::admin(), true).await.success(200);
    assert_eq!(resolved["payment"], Value::Null);
    sale.gateway.set(Fault::None).await;
    paying.join_all().await.remove(0).success(200);

    let path = format!("/orders/{}", sale.order);
    let call = sale.shop.service().get(&path).bearer(&tokens::admin());
    let order = call.send().await.success(200);
    assert_eq!(order["status"], "confirmed");
    let charges = sale.gateway.charges_of(sale.order).await;
    assert_eq!(order["payment"]["id"], charges[0]["payment_intent"]);
    assert!(sale.gateway.refunds_of(sale.order).await.is_empty());
    sale.shop.assert_books(sale.product).await;
}

/// Nobody knows the payment's identifier, so the service cannot refund it.
#[rstest]
#[case::sqlite(Backend::Sqlite)]
#[case::postgres(Backend::Postgres)]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cancelled_order_that_was_resolved_as_paid_names_the_money_to_refund(
    #[case] backend: Backend,
) {
    let sale = Sale::open(backend).await;
    sale.forget(OPEN_PAYMENT).await;
    let resolved = sale.resolve(&tokens::admin(), true).await.success(200);
    assert_eq!(resolved["status"], "confirmed");

    let cancel = sale
        .shop
        .service()
        .cancel(&tokens::admin(), &sale.order.to_string());
    let cancelled = cancel.send().await.success(200);

    assert_eq!(cancelled["status"], "cancelled");
    let external = &cancelled["external_payment"];
    assert_eq!(external["provider"], "payment gateway");
    assert_eq!(external["reference"], sale.order.to_string());
    assert_eq!(external["refund_due"]["amount"], cancelled["total"]);
    sale.shop.assert_books(sale.product).await;
}
