//! Races of a payment with the end of its order: an order whose payment has begun is neither
//! cancelled nor expired, and a locked row only delays the confirmation of a charged order.

use entities::order_status::OrderStatus;
use serde_json::json;
use tokio::task::JoinSet;
use uuid::Uuid;

use crate::support::{
    SOON, eventually,
    gateway::{Fault, Gateway},
    in_seconds,
    shop::{Backend, Shop},
    tokens, when,
};

const BEGIN_PAYMENT: &str = "UPDATE orders SET status = 'confirming'";

/// Start time of the service's statement that waits for a row lock.
async fn lock_wait_start(shop: &Shop) -> Option<String> {
    // Within a transaction PostgreSQL returns its first statistics snapshot again.
    shop.ledger.execute("SELECT pg_stat_clear_snapshot()").await;
    let start = "SELECT query_start::text FROM pg_stat_activity \
                 WHERE datname = current_database() AND wait_event_type = 'Lock'";
    shop.ledger.texts(start).await.pop()
}

/// Waits until the service waits for the locked row; returns the start time of its statement.
async fn until_service_waits(shop: &Shop) -> String {
    let start = async || lock_wait_start(shop).await;
    eventually("the service waits for the row lock", SOON, start).await
}

async fn assert_still_confirming(shop: &Shop, product: Uuid) {
    let statuses = shop.ledger.statuses(product).await;
    assert_eq!(statuses["ann"], OrderStatus::Confirming);
    assert_eq!(shop.ledger.product(product).await.stock, 3);
    shop.assert_books(product).await;
}

#[tokio::test]
async fn a_payment_that_begins_first_prevents_cancellation() {
    let shop = Shop::open(Backend::Postgres).await;
    let front = shop.service().front();
    let product = front.product(5, json!({ "hold_seconds": 600 })).await;
    let order = front.buy("ann", product, 2).await.success(201);
    let order = order["id"].as_str().unwrap().to_owned();

    shop.ledger.execute("BEGIN").await;
    shop.ledger.execute(BEGIN_PAYMENT).await;
    let mut cancel = JoinSet::new();
    cancel.spawn(async move { front.cancel(&tokens::user("ann"), &order).send().await });
    until_service_waits(&shop).await;
    shop.ledger.execute("COMMIT").await;

    let answer = cancel.join_next().await.unwrap().unwrap();
    let problem = answer.refusal(409, "order_not_pending");
    assert_eq!(problem["order_status"], "confirming");
    assert_still_confirming(&shop, product).await;
}

#[tokio::test]
async fn a_payment_that_begins_first_prevents_expiry() {
    let shop = Shop::open(Backend::Postgres).await;
    let service = shop.service();
    let product = service.product(5, json!({ "hold_seconds": 1 })).await;
    service.buy("ann", product, 2).await.success(201);

    shop.ledger.execute("BEGIN").await;
    shop.ledger.execute(BEGIN_PAYMENT).await;
    until_service_waits(&shop).await;
    shop.ledger.execute("COMMIT").await;

    // A later hold that expires shows that the expiry job has processed the product.
    service.buy("bob", product, 3).await.success(201);
    let past = in_seconds(-1);
    let expire = format!("UPDATE orders SET expires_at = '{past}'");
    shop.ledger.execute(&expire).await;
    eventually("the later hold ends", SOON, async || {
        let statuses = shop.ledger.statuses(product).await;
        when(statuses["bob"] == OrderStatus::Expired)
    })
    .await;
    assert_still_confirming(&shop, product).await;
}

/// After the charge another transaction locks the order's row for longer than a write may wait.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_charged_order_is_confirmed_once_its_row_is_unlocked() {
    let gateway = Gateway::start().await;
    let plan = Shop::plan(Backend::Postgres)
        .paying(&gateway)
        .set("REQUEST_TIMEOUT_MS", "20000");
    let shop = plan.open().await;
    let front = shop.service().front();
    let product = front.product(1, json!({ "hold_seconds": 600 })).await;
    let order = front.buy("ann", product, 1).await.success(201);
    let order: Uuid = order["id"].as_str().unwrap().parse().unwrap();
    gateway.set(Fault::HoldAnswer).await;
    let mut paying = JoinSet::new();
    paying.spawn(front.pay("ann", order, "pm_card_visa").send());
    eventually("the order is charged", SOON, async || {
        when(gateway.charges_of(order).await.len() == 1)
    })
    .await;

    shop.ledger.execute("BEGIN").await;
    let lock_row = "SELECT id FROM orders FOR UPDATE";
    shop.ledger.execute(lock_row).await;
    gateway.set(Fault::None).await;
    let first = until_service_waits(&shop).await;
    eventually("the service waits again", SOON, async || {
        when(lock_wait_start(&shop).await? != first)
    })
    .await;
    shop.ledger.execute("COMMIT").await;

    let paid = paying.join_next().await.unwrap().unwrap().success(200);
    assert_eq!(paid["status"], "confirmed");
    shop.assert_books(product).await;
}
