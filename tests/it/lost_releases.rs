//! Lost commits that only return units, while another node returns the same units: no row of their
//! own distinguishes the two commits.

use entities::order_status::OrderStatus;
use serde_json::json;
use tokio::task::JoinSet;
use uuid::Uuid;

use crate::support::{
    SOON, eventually,
    front::Front,
    http::Answer,
    postgres::Database,
    proxy::{Fault, Proxy},
    rival::Rival,
    shop::{Backend, Shop},
    tokens, when,
};

/// Two nodes, of which the first reaches the database through a proxy.
async fn one_behind_a_proxy() -> (Database, Proxy, Shop) {
    let database = Database::create().await;
    let proxy = Proxy::before(&database.url()).await;
    let mut shop = Shop::plan(Backend::Postgres)
        .nodes(2)
        .database(&proxy.url(&database.url()), &database.url())
        .set("REQUEST_TIMEOUT_MS", "40000")
        .set("LOCK_PATIENCE_MS", "20000")
        .set("LOCK_TTL_MS", "6000")
        .open()
        .await;
    shop.settings.set("DATABASE_URL", &database.url());
    shop.restart(1).await;
    (database, proxy, shop)
}

async fn hold(front: &Front, user: &str, product: Uuid) -> String {
    let order = front.buy(user, product, 1).await.success(201);
    order["id"].as_str().unwrap().to_owned()
}

/// Starts a cancellation.
fn cancel(front: &Front, user: &str, order: &str) -> JoinSet<Answer> {
    let call = front.cancel(&tokens::user(user), order);
    [call.send()].into_iter().collect()
}

async fn answer(mut call: JoinSet<Answer>) -> Answer {
    call.join_next().await.unwrap().unwrap()
}

/// The answer to a cancellation whose commit was lost. Its next try may meet a connection that was cut
/// off too and be `unavailable`: nothing was written, so the buyer repeats it.
async fn answer_in_the_end(
    call: JoinSet<Answer>,
    front: &Front,
    user: &str,
    order: &str,
) -> Answer {
    let first = answer(call).await;
    if first.status != 503 {
        return first;
    }
    first.refusal(503, "unavailable");
    answer(cancel(front, user, order)).await
}

async fn commit_is_lost(proxy: &Proxy) {
    let lost = async || when(proxy.hits() == 1);
    eventually("the commit is lost", SOON, lost).await;
}

/// While one node cannot settle its cancellation, another node cancels the order too and sells its
/// unit in the same batch: the first node must not take that commit for its own.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_commit_of_another_node_is_not_taken_for_the_lost_one() {
    let (_database, proxy, shop) = one_behind_a_proxy().await;
    let [cut_off, other] = [0, 1].map(|node| shop.nodes[node].front());
    let product = cut_off.product(2, json!({ "hold_seconds": 600 })).await;
    let order = hold(&cut_off, "ann", product).await;

    proxy.set(Fault::LoseCommitAndServer);
    let lost = cancel(&cut_off, "ann", &order);
    commit_is_lost(&proxy).await;
    // Both commands wait for a lock and form one batch.
    let rival = Rival::holds(&shop, product).await;
    let cancelled = cancel(&other, "ann", &order);
    shop.nodes[1].has_queued(1).await;
    let bought = other.order("bob", product, 2).send();
    let bought = [bought].into_iter().collect();
    shop.nodes[1].has_queued(2).await;
    rival.leaves(shop.redis()).await;
    answer(bought).await.success(201);
    answer(cancelled).await.success(200);
    proxy.set(Fault::None);

    // Its own row of the audit trail is missing, so it is tried again, and finds the order cancelled.
    let refused = answer_in_the_end(lost, &cut_off, "ann", &order).await;
    refused.refusal(409, "order_not_pending");
    let refused = cut_off.buy("carl", product, 1).await;
    refused.refusal(409, "sold_out");
    shop.assert_books(product).await;
}

/// Two cancellations are lost in one commit, and another node does one: the other is not done.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lost_commit_that_another_node_did_in_part_is_not_done() {
    let (_database, proxy, shop) = one_behind_a_proxy().await;
    let [cut_off, other] = [0, 1].map(|node| shop.nodes[node].front());
    let product = cut_off.product(5, json!({ "hold_seconds": 600 })).await;
    let first = hold(&cut_off, "ann", product).await;
    let second = hold(&cut_off, "bob", product).await;
    let rival = Rival::holds(&shop, product).await;
    let lost_first = cancel(&cut_off, "ann", &first);
    shop.service().has_queued(1).await;
    let lost_second = cancel(&cut_off, "bob", &second);
    shop.service().has_queued(2).await;

    proxy.set(Fault::LoseCommitAndServer);
    rival.leaves(shop.redis()).await;
    commit_is_lost(&proxy).await;
    answer(cancel(&other, "ann", &first)).await.success(200);
    proxy.set(Fault::None);

    let refused = answer_in_the_end(lost_first, &cut_off, "ann", &first).await;
    refused.refusal(409, "order_not_pending");
    let cancelled = answer_in_the_end(lost_second, &cut_off, "bob", &second).await;
    cancelled.success(200);
    let statuses = shop.ledger.statuses(product).await;
    let cancelled = statuses
        .values()
        .all(|status| *status == OrderStatus::Cancelled);
    assert!(cancelled, "{statuses:?}");
    shop.assert_books(product).await;
}
