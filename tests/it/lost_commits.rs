//! Database connections that break during a commit: the service settles it, or reports an unknown
//! outcome.

use std::time::{Duration, Instant};

use serde_json::json;
use uuid::Uuid;

use crate::support::{
    SOON, eventually,
    load::{Load, door},
    postgres::Database,
    proxy::{Cut, Fault, Proxy, Sender},
    shop::{Backend, Shop},
    when,
    wire::Role,
};

/// `REQUEST_TIMEOUT_MS` and a margin for a busy machine.
const ANSWERED_WITHIN: Duration = Duration::from_millis(5_700);
/// Enough to settle every commit on a busy machine, in milliseconds.
const PATIENT: &str = "40000";

async fn behind_a_proxy() -> (Database, Proxy, Shop) {
    answering_within("5000").await
}

/// The service answers within so many milliseconds.
async fn answering_within(timeout: &str) -> (Database, Proxy, Shop) {
    let database = Database::create().await;
    let proxy = Proxy::before(&database.url()).await;
    let through = proxy.url(&database.url());
    let shop = Shop::plan(Backend::Postgres)
        .database(&through, &database.url())
        .set("REQUEST_TIMEOUT_MS", timeout)
        .open()
        .await;
    (database, proxy, shop)
}

/// The order is durable, but the answer to its commit was lost: a lookup finds it.
#[tokio::test]
async fn an_order_whose_commit_answer_was_lost_is_found() {
    let (_database, proxy, shop) = behind_a_proxy().await;
    let product = shop.service().product(5, json!({})).await;
    shop.service().buy("ann", product, 1).await.success(201);

    proxy.set(Fault::LoseCommitAnswer);
    let order = shop.service().buy("bob", product, 2).await.success(201);

    assert_eq!(proxy.hits(), 1);
    let rows = shop.ledger.orders(product).await;
    assert_eq!(rows.len(), 2);
    assert!(
        rows.iter()
            .any(|row| order["id"] == json!(row.id) && row.user_id == "bob")
    );
    assert_eq!(shop.ledger.product(product).await.stock, 2);
    shop.service().buy("carl", product, 2).await.success(201);
    shop.service()
        .buy("dora", product, 1)
        .await
        .refusal(409, "sold_out");
    shop.assert_books(product).await;
}

/// The order was rolled back with its connection: it is written again, once.
#[tokio::test]
async fn an_order_whose_commit_was_lost_is_placed_again() {
    let (_database, proxy, shop) = behind_a_proxy().await;
    let product = shop.service().product(5, json!({})).await;
    shop.service().buy("ann", product, 1).await.success(201);

    proxy.set(Fault::LoseCommit);
    let order = shop.service().buy("bob", product, 2).await.success(201);

    assert_eq!(proxy.hits(), 1);
    let rows = shop.ledger.orders(product).await;
    assert_eq!(rows.len(), 2);
    assert!(
        rows.iter()
            .any(|row| order["id"] == json!(row.id) && row.user_id == "bob")
    );
    assert_eq!(shop.ledger.product(product).await.stock, 2);
    shop.assert_books(product).await;
}

/// The service cannot settle the commit in time: it answers `outcome_unknown`, and the idempotency
/// key finds the order later.
#[tokio::test]
async fn an_unknown_outcome_is_reported_and_the_key_finds_the_order() {
    let (_database, proxy, shop) = behind_a_proxy().await;
    let product = shop.service().product(5, json!({})).await;
    let call = || shop.service().order("bob", product, 2).key("k");
    shop.service().buy("ann", product, 1).await.success(201);

    proxy.set(Fault::LoseCommitAnswerAndServer);
    let begun = Instant::now();
    let answer = call().send().await;
    assert!(begun.elapsed() < ANSWERED_WITHIN, "{:?}", begun.elapsed());
    let unknown = answer.refusal(503, "outcome_unknown");
    answer.retry_after();
    assert_eq!(proxy.hits(), 1);

    proxy.set(Fault::None);
    let order = eventually("the database is back", SOON, async || {
        let answer = call().send().await;
        (answer.status == 201).then(|| answer.json())
    })
    .await;
    assert_eq!(order["id"], unknown["order_id"]);
    assert_eq!(shop.ledger.orders(product).await.len(), 2);
    assert_eq!(shop.ledger.product(product).await.stock, 2);
    shop.assert_books(product).await;
}

/// The same under load, where one lost answer concerns a whole batch.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn lost_commits_under_load_sell_nothing_twice() {
    let (_database, proxy, shop) = behind_a_proxy().await;
    let product = shop.service().product(1_000_000, json!({})).await;
    let load = Load::start(&[door(shop.service().front())], product, 32);

    for fault in [Fault::LoseCommitAnswer, Fault::LoseCommit].repeat(5) {
        proxy.set(fault);
        eventually("a commit was lost", SOON, async || when(proxy.hits() == 1)).await;
        load.sells(20).await;
    }

    let received = load.finish().await;
    assert_eq!(received.broken, 0, "{:?}", received.refusals);
    assert_eq!(received.orders.len(), received.served);
    assert!(received.slowest < ANSWERED_WITHIN, "{:?}", received.slowest);
    let rows = shop.ledger.orders(product).await;
    assert_eq!(rows.len(), received.orders.len());
    assert!(
        rows.iter()
            .all(|row| received.orders.contains(&row.id.to_string()))
    );
    shop.assert_books(product).await;
}

/// The client loses its connection with a sale that is still on its way to the server. The service
/// places the order again, and the first statement arrives just before the second: had the status
/// of the commit been read only, it would match now, and the second would meet its order.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_sale_that_arrives_after_it_was_settled_sells_nothing() {
    let (_database, proxy, shop) = answering_within(PATIENT).await;
    let product = shop.service().product(5, json!({})).await;
    shop.service().buy("ann", product, 1).await.success(201);

    proxy.set(Fault::DelaySale);
    let answer = shop.service().order("bob", product, 2).key("k").send();
    let answer = answer.await;

    assert_eq!(proxy.hits(), 1);
    let order = answer.success(201);
    assert_eq!(answer.header("idempotency-replayed"), None);
    let rows = shop.ledger.orders(product).await;
    assert_eq!(rows.len(), 2);
    assert!(rows.iter().any(|row| order["id"] == json!(row.id)));
    assert_eq!(shop.ledger.product(product).await.stock, 2);
    shop.assert_books(product).await;
}

/// A batch whose exchange with the database was cut off after `cut`: the buyer gets the order, made
/// once and not found by its key. False if the exchange was shorter.
async fn sells_once_despite(cut: Cut, proxy: &Proxy, shop: &Shop, product: Uuid) -> bool {
    proxy.set(Fault::Cut(cut));
    let buyer = Uuid::now_v7().to_string();
    let call = shop.service().order(&buyer, product, 1).key("k");
    let answer = call.send().await;
    let order = answer.success(201);
    let replayed = answer.header("idempotency-replayed");
    assert_eq!(replayed, None, "{cut:?}");
    let id = order["id"].as_str().unwrap();
    assert!(shop.ledger.has_order(id).await, "{cut:?}");
    proxy.hits() > 0
}

/// In steps through the whole exchange, and after each byte of the server's last messages, which
/// say that the statement was executed, and then that it has committed.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_exchange_that_is_cut_off_anywhere_sells_once() {
    const LAST: usize = 28;
    let (_database, proxy, shop) = answering_within(PATIENT).await;
    let product = shop.service().product(1_000_000, json!({})).await;
    let mut sold = 0;

    for (from, sender, step) in [
        (Role::Keys, Sender::Client, 150),
        (Role::Sale, Sender::Client, 31),
        (Role::Keys, Sender::Server, 11),
    ] {
        let cut = |after| Cut {
            from,
            sender,
            after,
        };
        let mut end = 0;
        while sells_once_despite(cut(end), &proxy, &shop, product).await {
            end += step;
            sold += 1;
        }
        sold += 1;
        proxy.break_all().await;
        assert!(end > 3 * step, "{from:?} {sender:?}: {end}");
        if sender == Sender::Server {
            for after in end.saturating_sub(step + LAST)..end {
                sells_once_despite(cut(after), &proxy, &shop, product).await;
                sold += 1;
            }
        }
    }

    assert_eq!(shop.ledger.orders(product).await.len(), sold);
    shop.assert_books(product).await;
}

/// The pool replaces connections that broke while idle before a request uses them.
#[tokio::test]
async fn a_broken_idle_connection_costs_no_order() {
    let (_database, proxy, shop) = behind_a_proxy().await;
    let product = shop.service().product(50, json!({})).await;

    for round in 0..5 {
        shop.service().buy("ann", product, 1).await.success(201);
        proxy.break_all().await;
        shop.service().buy("bob", product, 1).await.success(201);
        let read = shop
            .service()
            .get(&format!("/products/{product}"))
            .send()
            .await
            .success(200);
        assert_eq!(read["stock"], 50 - 2 * (round + 1));
    }
    shop.assert_books(product).await;
}

/// Its row of the audit trail shows whether it was written.
#[tokio::test]
async fn a_restock_whose_commit_answer_was_lost_counts_once() {
    let (_database, proxy, shop) = behind_a_proxy().await;
    let product = shop.service().product(5, json!({})).await;
    shop.service().restock(product, 1).await.success(200);

    for fault in [Fault::LoseCommitAnswer, Fault::LoseCommit] {
        let before = shop.ledger.product(product).await;
        proxy.set(fault);
        let answer = shop.service().restock(product, 10).await;
        let added = shop.ledger.product(product).await.stock_total - before.stock_total;
        assert_eq!((answer.status, added), (200, 10), "{answer:?}");
        shop.ledger.assert_conserved(product).await;
    }
    let rows = shop.ledger.audit().await;
    let restocks = rows.iter().filter(|row| row.action == "product.restock");
    assert_eq!(restocks.count(), 3);
}
