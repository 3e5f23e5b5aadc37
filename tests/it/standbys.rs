//! A primary whose commits wait for a standby: no answer says "it is written" before the standby has
//! it, also when a wait was interrupted and the row is visible on the primary.

use entities::order_status::OrderStatus;
use rstest::rstest;
use serde_json::json;
use test_support::postgres::Postgres;
use tokio::task::JoinSet;
use uuid::Uuid;

use crate::support::{
    SOON, eventually,
    front::Front,
    http::{Answer, Call},
    ledger::Ledger,
    shop::{Backend, Shop},
    tokens, when,
};

/// Sessions of the service whose commit waits for the standby.
const WAITING: &str = "SELECT pid::text FROM pg_stat_activity \
    WHERE wait_event = 'SyncRep' AND application_name = 'flash-sale'";
/// Ends them, as an administrator or a crash of another session would.
const INTERRUPT: &str = "SELECT pg_terminate_backend(pid)::text FROM pg_stat_activity \
    WHERE wait_event = 'SyncRep' AND application_name = 'flash-sale'";

/// Two nodes at a primary whose commits wait for its standby.
async fn replicated() -> (Postgres, Postgres, Shop) {
    let primary = Postgres::open().await.unwrap();
    let shop = Shop::plan(Backend::Postgres)
        .nodes(2)
        .database(&primary.url(), &primary.url())
        .set("REQUEST_TIMEOUT_MS", "2000")
        .open()
        .await;
    let standby = primary.standby().await.unwrap();
    primary.wait_for_standbys("*").await.unwrap();
    let synchronous = "SELECT sync_state FROM pg_stat_replication";
    eventually("the standby is synchronous", SOON, async || {
        when(shop.ledger.texts(synchronous).await == ["sync"])
    })
    .await;
    (primary, standby, shop)
}

fn started(call: Call) -> JoinSet<Answer> {
    [call.send()].into_iter().collect()
}

/// Ends every wait until the primary shows what was written.
async fn interrupt_until(ledger: &Ledger, shows: impl AsyncFn() -> bool) {
    eventually("the row is visible", SOON, async || {
        ledger.texts(INTERRUPT).await;
        when(shows().await)
    })
    .await;
}

async fn is_refused(call: Call) {
    let answer = call.send().await;
    assert_eq!(answer.status, 503, "{answer:?}");
    answer.problem();
}

async fn succeeds(what: &str, call: impl Fn() -> Call, status: u16) -> Answer {
    eventually(what, SOON, async || {
        Some(call().send().await).filter(|answer| answer.status == status)
    })
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_order_that_no_standby_has_is_not_confirmed_to_its_buyer() {
    let (_primary, standby, shop) = replicated().await;
    let [first, second] = [0, 1].map(|node| shop.nodes[node].front());
    let product = first.product(5, json!({})).await;
    first.buy("ann", product, 1).await.success(201);
    let buy = |node: &Front| node.order("bob", product, 2).key("k");

    standby.pause().unwrap();
    let order = started(buy(&first));
    eventually("its commit waits", SOON, async || {
        when(!shop.ledger.texts(WAITING).await.is_empty())
    })
    .await;
    // The first answer comes from settling the commit, the next ones from the row that is visible.
    interrupt_until(&shop.ledger, async || shop.ledger.sold(product).await == 3).await;
    let unknown = order.join_all().await.remove(0);
    let unknown = unknown.refusal(503, "outcome_unknown");
    is_refused(buy(&first)).await;
    is_refused(buy(&second)).await;
    // Nor if the wait of the commit behind the answer is interrupted too.
    shop.ledger.texts(INTERRUPT).await;
    let replay = started(buy(&second));
    eventually("its commit is interrupted", SOON, async || {
        when(!shop.ledger.texts(INTERRUPT).await.is_empty())
    })
    .await;
    assert_eq!(replay.join_all().await.remove(0).status, 503);

    standby.resume().unwrap();
    for node in [&first, &second] {
        let replayed = succeeds("the order is found", || buy(node), 201).await;
        assert_eq!(replayed.header("idempotency-replayed"), Some("true"));
        assert_eq!(replayed.json()["id"], unknown["order_id"]);
    }
    assert_eq!(shop.ledger.orders(product).await.len(), 2);
    shop.assert_books(product).await;
    let copy = Ledger::open(&standby.url()).await;
    let id = unknown["order_id"].as_str().unwrap();
    eventually("the standby shows it", SOON, async || {
        when(copy.has_order(id).await)
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_confirmation_that_no_standby_has_is_not_repeated_to_its_buyer() {
    let (_primary, standby, shop) = replicated().await;
    let front = shop.service().front();
    let terms = json!({ "hold_seconds": 600, "price": 0 });
    let product = front.product(5, terms).await;
    let order = front.buy("ann", product, 1).await.success(201);
    let order: Uuid = order["id"].as_str().unwrap().parse().unwrap();
    let confirm = || front.pay("ann", order, "none");

    standby.pause().unwrap();
    let confirmed = started(confirm());
    interrupt_until(&shop.ledger, async || {
        let statuses = shop.ledger.statuses(product).await;
        statuses
            .values()
            .all(|status| *status == OrderStatus::Confirmed)
    })
    .await;
    let first = confirmed.join_all().await.remove(0);
    assert_eq!(first.status, 503, "{first:?}");
    is_refused(confirm()).await;

    standby.resume().unwrap();
    let repeated = succeeds("the confirmation is found", confirm, 200).await;
    assert_eq!(repeated.json()["status"], "confirmed");
}

/// What a promoted standby may have made of the version that a node has read on the lost primary,
/// whose write no standby had: other orders and another stock, or the same stock at another time.
#[rstest]
#[case::another_stock(3)]
#[case::another_time(0)]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_same_version_of_another_history_is_not_written_over(#[case] sold_there: i64) {
    let shop = Shop::open(Backend::Postgres).await;
    let front = shop.service().front();
    let product = front.product(10, json!({})).await;
    // The node keeps this row for its next batch.
    front.buy("ann", product, 1).await.success(201);
    let there = format!(
        "WITH there AS (UPDATE products SET stock = stock - {sold_there}, \
            updated_at = updated_at + interval '1 microsecond' RETURNING id) \
         INSERT INTO orders (id, reference, product_id, user_id, quantity, unit_price, currency, \
            status, created_at, confirmed_at) \
         SELECT gen_random_uuid(), 'THERE', id, 'bob', {sold_there}, 1, 'EUR', 'confirmed', now(), now() \
         FROM there WHERE {sold_there} > 0"
    );
    shop.ledger.execute(&there).await;

    front.buy("cleo", product, 1).await.success(201);

    shop.assert_books(product).await;
    let metrics = shop.service().metrics().await;
    let rejected = metrics.value("flash_sale_fence_rejected_total", &[]);
    assert_eq!(rejected, Some(1.0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cancellation_that_no_standby_has_is_not_told_as_done() {
    let (_primary, standby, shop) = replicated().await;
    let [first, second] = [0, 1].map(|node| shop.nodes[node].front());
    let product = first.product(5, json!({ "hold_seconds": 600 })).await;
    let order = first.buy("ann", product, 1).await.success(201);
    let order = order["id"].as_str().unwrap();
    let cancel = |node: &Front| node.cancel(&tokens::user("ann"), order);

    standby.pause().unwrap();
    let cancelled = started(cancel(&first));
    interrupt_until(&shop.ledger, async || shop.ledger.sold(product).await == 0).await;
    assert_eq!(cancelled.join_all().await.remove(0).status, 503);
    is_refused(cancel(&first)).await;
    is_refused(cancel(&second)).await;

    standby.resume().unwrap();
    for node in [&first, &second] {
        let repeated = succeeds("the cancellation is found", || cancel(node), 409).await;
        assert_eq!(repeated.json()["order_status"], "cancelled");
    }
    shop.assert_books(product).await;
}
