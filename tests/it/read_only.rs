//! A database server that only reads, as after a fail-over: the service says so, and leaves it.

use rstest::rstest;
use serde_json::json;
use test_support::postgres::Postgres;

use crate::support::{
    SOON, eventually,
    proxy::Proxy,
    shop::{Backend, Shop},
    tokens, when,
};

/// Waits until every health check answers so.
async fn database_is(shop: &Shop, state: &str, reason: Option<&str>) {
    let code = if state == "up" { 200 } else { 503 };
    eventually(&format!("the database is {state}"), SOON, async || {
        let (status, body) = shop.service().health().await;
        let ready = shop.service().get("/health/ready").send().await;
        let reported = body["database_reason"].as_str() == reason;
        let metrics = shop.service().metrics().await;
        let gauge = u32::from(reason.is_some());
        let shown = metrics.shows("flash_sale_db_only_reads", &[], gauge);
        when(
            status == code
                && ready.status == code
                && body["database"] == state
                && reported
                && shown,
        )
    })
    .await;
}

/// A shop whose service reaches its database through a proxy, as through a name that follows the
/// primary.
async fn behind_a_proxy(primary: &Postgres) -> (Proxy, Shop) {
    let proxy = Proxy::before(&primary.url()).await;
    let shop = Shop::plan(Backend::Postgres)
        .database(&proxy.url(&primary.url()), &primary.url())
        .open()
        .await;
    (proxy, shop)
}

async fn sells_again(shop: &Shop, buyer: &str, product: uuid::Uuid) -> serde_json::Value {
    eventually("the service sells again", SOON, async || {
        let answer = shop.service().order(buyer, product, 1).key("once");
        let answer = answer.send().await;
        (answer.status == 201).then(|| answer.json())
    })
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_only_reads_takes_no_orders_and_is_not_ready() {
    let server = Postgres::open().await.unwrap();
    let (_proxy, shop) = behind_a_proxy(&server).await;
    let product = shop.service().product(5, json!({})).await;
    database_is(&shop, "up", None).await;

    server.only_reads(true).await.unwrap();
    database_is(&shop, "down", Some("read_only")).await;
    let answer = shop.service().buy("ann", product, 1).await;
    answer.refusal(503, "unavailable");
    let read = shop.service().get(&format!("/products/{product}"));
    read.send().await.success(200);

    server.only_reads(false).await.unwrap();
    database_is(&shop, "up", None).await;
    sells_again(&shop, "bob", product).await;
    let log = shop.log();
    assert_eq!(
        log.matches("the database server only reads").count(),
        1,
        "{log}"
    );
    shop.assert_books(product).await;
}

/// The name leads to a standby for a while: connections that were opened meanwhile are given up.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn connections_to_a_standby_are_given_up_when_the_name_leads_to_the_primary_again() {
    let primary = Postgres::open().await.unwrap();
    let (proxy, shop) = behind_a_proxy(&primary).await;
    let product = shop.service().product(5, json!({})).await;
    let standby = primary.standby().await.unwrap();

    proxy.lead_to(&standby.url());
    proxy.break_all().await;
    database_is(&shop, "down", Some("read_only")).await;
    let answer = shop.service().buy("ann", product, 1).await;
    answer.refusal(503, "unavailable");

    proxy.lead_to(&primary.url());
    sells_again(&shop, "ann", product).await;
    database_is(&shop, "up", None).await;
    shop.assert_books(product).await;
}

/// A fail-over: the old primary keeps its connections and refuses writes, the standby is promoted.
#[rstest]
#[case::while_orders_arrive(true)]
#[case::while_nothing_happens(false)]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn after_a_fail_over_orders_and_reads_go_to_the_new_primary(#[case] busy: bool) {
    let old = Postgres::open().await.unwrap();
    let (proxy, shop) = behind_a_proxy(&old).await;
    let product = shop.service().product(5, json!({})).await;
    let order = shop.service().buy("ann", product, 1).await.success(201);
    let new = old.standby().await.unwrap();

    old.only_reads(true).await.unwrap();
    if busy {
        let answer = shop.service().buy("bob", product, 1).await;
        answer.refusal(503, "unavailable");
    }
    new.promote().await.unwrap();
    proxy.lead_to(&new.url());

    let bought = sells_again(&shop, "bob", product).await;
    for (user, id) in [("ann", &order["id"]), ("bob", &bought["id"])] {
        let path = format!("/orders/{}", id.as_str().unwrap());
        eventually("reads go to the new primary", SOON, async || {
            let read = shop.service().get(&path).bearer(&tokens::user(user));
            when(read.send().await.status == 200)
        })
        .await;
    }
    database_is(&shop, "up", None).await;
    assert!(!shop.ledger.has_order(bought["id"].as_str().unwrap()).await);
}
