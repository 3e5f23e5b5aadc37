//! A buyer who begins to pay in the very moment in which the order would end keeps it, and once
//! the gateway has charged, a row that is kept delays the end only.

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

const BEGINS: &str = "UPDATE orders SET status = 'confirming'";

/// Since when the service waits for a row.
async fn waits_since(shop: &Shop) -> Option<String> {
    // Within a transaction PostgreSQL would show what it showed before.
    shop.ledger.execute("SELECT pg_stat_clear_snapshot()").await;
    let since = "SELECT query_start::text FROM pg_stat_activity \
                 WHERE datname = current_database() AND wait_event_type = 'Lock'";
    shop.ledger.texts(since).await.pop()
}

/// The service waits for the row, which somebody has; since when.
async fn service_waits(shop: &Shop) -> String {
    let since = async || waits_since(shop).await;
    eventually("the service meets the buyer", SOON, since).await
}

async fn assert_kept(shop: &Shop, product: Uuid) {
    let statuses = shop.ledger.statuses(product).await;
    assert_eq!(statuses["ann"], OrderStatus::Confirming);
    assert_eq!(shop.ledger.product(product).await.stock, 3);
    shop.assert_books(product).await;
}

#[tokio::test]
async fn it_is_not_cancelled() {
    let shop = Shop::open(Backend::Postgres).await;
    let front = shop.service().front();
    let product = front.product(5, json!({ "hold_seconds": 600 })).await;
    let order = front.buy("ann", product, 2).await.success(201);
    let order = order["id"].as_str().unwrap().to_owned();

    shop.ledger.execute("BEGIN").await;
    shop.ledger.execute(BEGINS).await;
    let mut cancel = JoinSet::new();
    cancel.spawn(async move { front.cancel(&tokens::user("ann"), &order).send().await });
    service_waits(&shop).await;
    shop.ledger.execute("COMMIT").await;

    let answer = cancel.join_next().await.unwrap().unwrap();
    let problem = answer.refusal(409, "order_not_pending");
    assert_eq!(problem["order_status"], "confirming");
    assert_kept(&shop, product).await;
}

#[tokio::test]
async fn it_does_not_expire() {
    let shop = Shop::open(Backend::Postgres).await;
    let service = shop.service();
    let product = service.product(5, json!({ "hold_seconds": 1 })).await;
    service.buy("ann", product, 2).await.success(201);

    shop.ledger.execute("BEGIN").await;
    shop.ledger.execute(BEGINS).await;
    service_waits(&shop).await;
    shop.ledger.execute("COMMIT").await;

    // A hold that comes and goes later shows that the job has been there.
    service.buy("bob", product, 3).await.success(201);
    let past = in_seconds(-1);
    let over = format!("UPDATE orders SET expires_at = '{past}'");
    shop.ledger.execute(&over).await;
    eventually("the later hold ends", SOON, async || {
        let statuses = shop.ledger.statuses(product).await;
        when(statuses["bob"] == OrderStatus::Expired)
    })
    .await;
    assert_kept(&shop, product).await;
}

/// The gateway has charged while somebody kept the order's row for longer than a write may wait.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn its_end_is_written_when_the_row_is_free() {
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
    let call = front
        .post(&format!("/orders/{order}/confirm"))
        .bearer(&tokens::user("ann"));
    paying.spawn(
        call.json(&json!({ "payment_method": "pm_card_visa" }))
            .send(),
    );
    eventually("it is charged", SOON, async || {
        when(gateway.charges_of(order).await.len() == 1)
    })
    .await;

    shop.ledger.execute("BEGIN").await;
    let keep = "SELECT id FROM orders FOR UPDATE";
    shop.ledger.execute(keep).await;
    gateway.set(Fault::None).await;
    let first = service_waits(&shop).await;
    eventually("it waits again", SOON, async || {
        when(waits_since(&shop).await? != first)
    })
    .await;
    shop.ledger.execute("COMMIT").await;

    let paid = paying.join_next().await.unwrap().unwrap().success(200);
    assert_eq!(paid["status"], "confirmed");
    shop.assert_books(product).await;
}
