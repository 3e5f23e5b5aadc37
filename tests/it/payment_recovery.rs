//! Forgotten payments are settled many at a time, at the pace that the gateway allows, and beside
//! the orders.

use std::time::Duration;

use rstest::rstest;
use serde_json::json;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::support::{
    SOON, eventually,
    front::Front,
    gateway::{Fault, Gateway},
    shop::{Backend, Shop},
    tokens, when,
};

const FORGOTTEN: usize = 60;
const AT_ONCE: usize = 32;
/// A node died an hour ago, after it had marked the orders.
const FORGET: &str = "UPDATE orders SET status = 'confirming', payment_attempt = 1, \
                      payment_method = 'pm_card_visa', payment_begun_at = now(), \
                      payment_asked_at = now() - interval '1 hour' WHERE status = 'pending'";

/// Pending orders of as many users, with the users.
async fn hold(shop: &Shop, product: Uuid, orders: usize) -> Vec<(String, Uuid)> {
    let mut buyers = JoinSet::new();
    for number in 0..orders {
        let front = shop.service().front();
        let user = format!("user-{number}");
        buyers.spawn(async move {
            let order = front.buy(&user, product, 1).await.success(201);
            (user, order["id"].as_str().unwrap().parse().unwrap())
        });
    }
    buyers.join_all().await
}

/// A shop with forgotten payments, whose gateway has this fault.
async fn forgotten(fault: Fault) -> (Gateway, Shop, Uuid) {
    let gateway = Gateway::start().await;
    // One connection for payments.
    let plan = Shop::plan(Backend::Postgres).set("DATABASE_POOL_MAX", "5");
    let plan = plan.set("RUST_LOG", "info,flash_sale::jobs=debug");
    let shop = plan.paying(&gateway).open().await;
    let terms = json!({ "hold_seconds": 600 });
    let product = shop.service().product(100, terms).await;
    hold(&shop, product, FORGOTTEN).await;
    gateway.set(fault).await;
    shop.ledger.execute(FORGET).await;
    (gateway, shop, product)
}

async fn all_are_confirmed(shop: &Shop, product: Uuid) {
    let open = "SELECT id::text FROM orders WHERE status <> 'confirmed'";
    eventually("all orders are confirmed", SOON, async || {
        when(shop.ledger.texts(open).await.is_empty())
    })
    .await;
    let paid = "SELECT DISTINCT payment_id FROM orders";
    assert_eq!(shop.ledger.texts(paid).await.len(), FORGOTTEN);
    shop.assert_books(product).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn forgotten_payments_are_settled_many_at_a_time() {
    let (gateway, shop, product) = forgotten(Fault::Hold).await;
    eventually("many calls are under way", SOON, async || {
        when(gateway.most_at_once() >= AT_ONCE)
    })
    .await;

    gateway.set(Fault::None).await;

    all_are_confirmed(&shop, product).await;
    assert_eq!(gateway.most_at_once(), AT_ONCE);
    // The search for more of them has waited for the calls' writes, not they for it.
    let log = shop.log();
    assert!(!log.contains("cannot read open payments"), "{log}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_busy_gateway_is_left_alone_for_as_long_as_it_asks() {
    let (gateway, shop, product) = forgotten(Fault::Busy).await;
    eventually("the calls are repeated", SOON, async || {
        when(gateway.calls().len() > AT_ONCE)
    })
    .await;

    let calls = gateway.calls();
    let waited = calls[AT_ONCE].duration_since(calls[AT_ONCE - 1]);
    assert!(waited >= Duration::from_millis(1_900), "{waited:?}");

    gateway.set(Fault::None).await;
    all_are_confirmed(&shop, product).await;
}

/// Who confirms a pending order.
#[derive(Clone, Copy, PartialEq, Eq)]
enum By {
    Buyer,
    Admin,
}

/// Confirms the order until `bought`; each call ends with 503 when it has waited for too long.
async fn confirm_until(
    bought: CancellationToken,
    front: Front,
    by: By,
    (user, order): (String, Uuid),
) {
    let outside = json!({ "external_payment": { "provider": "paypal", "reference": user } });
    while !bought.is_cancelled() {
        let call = match by {
            By::Buyer => front.pay(&user, order, "pm_card_visa"),
            By::Admin => front
                .post(&format!("/orders/{order}/confirm"))
                .bearer(&tokens::admin_of_name(&user))
                .json(&outside),
        };
        drop(call.send().await);
    }
}

/// The rows of more orders than there are connections are locked while they are confirmed.
#[rstest]
#[case::of_buyers(By::Buyer)]
#[case::outside(By::Admin)]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn payments_that_wait_for_the_database_keep_no_order_waiting(#[case] by: By) {
    let gateway = Gateway::start().await;
    let plan = Shop::plan(Backend::Postgres).paying(&gateway);
    let shop = plan.set("DATABASE_POOL_MAX", "5").open().await;
    let service = shop.service();
    let product = service.product(40, json!({ "hold_seconds": 600 })).await;
    let orders = hold(&shop, product, 24).await;
    shop.ledger.execute("BEGIN").await;
    let lock = "SELECT id FROM orders FOR UPDATE";
    shop.ledger.execute(lock).await;
    let bought = CancellationToken::new();
    let confirm = |order| confirm_until(bought.clone(), service.front(), by, order);
    let paying: JoinSet<()> = orders.into_iter().map(confirm).collect();
    let waits = "SELECT 'x' FROM pg_stat_activity WHERE datname = current_database() \
                 AND wait_event_type = 'Lock'";
    eventually("the payments wait", SOON, async || {
        // Within a transaction PostgreSQL returns its first statistics snapshot again.
        shop.ledger.execute("SELECT pg_stat_clear_snapshot()").await;
        when(!shop.ledger.texts(waits).await.is_empty())
    })
    .await;

    for user in ["quick", "quicker", "quickest"] {
        service.buy(user, product, 1).await.success(201);
    }

    bought.cancel();
    shop.ledger.execute("COMMIT").await;
    paying.join_all().await;
    shop.assert_books(product).await;
}

/// Stripe repeats its first answer under the same key, whatever the payment's state is by now.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_payment_whose_first_answer_was_too_early_is_settled() {
    let gateway = Gateway::start().await;
    let plan = Shop::plan(Backend::Sqlite).paying(&gateway);
    let shop = plan.set("REQUEST_TIMEOUT_MS", "1000").open().await;
    let product = shop
        .service()
        .product(1, json!({ "hold_seconds": 600 }))
        .await;
    let (_, order) = hold(&shop, product, 1).await[0];
    gateway.set(Fault::Processing).await;
    let early = shop.service().pay("user-0", order, "pm_card_visa");
    early.send().await.refusal(503, "outcome_unknown");
    gateway.set(Fault::None).await;

    eventually("the order is confirmed", SOON, async || {
        let read = shop.service().get(&format!("/orders/{order}"));
        let read = read
            .bearer(&tokens::user("user-0"))
            .send()
            .await
            .success(200);
        when(read["status"] == "confirmed")
    })
    .await;

    assert_eq!(gateway.charges_of(order).await.len(), 1);
    shop.assert_books(product).await;
}
