//! Database outages: every request is answered before its time-out, and no order is lost.

use std::time::{Duration, Instant};

use rstest::rstest;
use serde_json::json;
use test_support::postgres::Postgres;
use uuid::Uuid;

use crate::support::{
    SOON, eventually,
    ledger::Ledger,
    load::{Load, Told, door},
    postgres::Database,
    shop::{Backend, Shop},
    when,
};

/// `REQUEST_TIMEOUT_MS` plus a margin for a busy machine.
const ANSWERED_WITHIN: Duration = Duration::from_millis(5_700);

/// Every request was answered in time, by an order or by a refusal that a database outage allows.
#[track_caller]
fn assert_answered(received: &Told) {
    let allowed = ["unavailable", "outcome_unknown", "high_demand"];
    let others = received
        .refusals
        .keys()
        .filter(|code| !allowed.contains(&code.as_str()));
    assert_eq!(others.count(), 0, "{:?}", received.refusals);
    assert_eq!(received.broken, 0, "the service stayed reachable");
    assert!(
        received.slowest < ANSWERED_WITHIN,
        "the slowest answer took {:?}",
        received.slowest
    );
    assert_eq!(received.orders.len(), received.served);
}

async fn database_is(shop: &Shop, state: &str) {
    let code = if state == "up" { 200 } else { 503 };
    eventually(&format!("the database is {state}"), SOON, async || {
        let (status, body) = shop.service().health().await;
        when(status == code && body["database"] == state && body["status"] == state)
    })
    .await;
}

/// Waits until this many more requests were refused with `unavailable`.
async fn until_unavailable(load: &Load, more: usize) {
    let before = load.told().refused("unavailable");
    eventually("requests are answered 503", SOON, async || {
        when(load.told().refused("unavailable") >= before + more)
    })
    .await;
}

#[derive(Clone, Copy, Debug)]
enum Outage {
    Killed,
    Restarted,
    Unresponsive,
}

impl Outage {
    async fn begin(self, server: &Postgres) {
        match self {
            Self::Killed => server.kill().await,
            Self::Restarted => server.stop().await,
            Self::Unresponsive => server.pause(),
        }
        .unwrap();
    }

    async fn end(self, server: &Postgres) {
        match self {
            Self::Killed | Self::Restarted => server.start().await,
            Self::Unresponsive => server.resume(),
        }
        .unwrap();
    }
}

#[rstest]
#[case::killed(Outage::Killed)]
#[case::restarted(Outage::Restarted)]
#[case::unresponsive(Outage::Unresponsive)]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sales_resume_when_the_database_recovers(#[case] outage: Outage) {
    let server = Postgres::open().await.unwrap();
    let shop = with_own_server(&server).await;
    let product = shop.service().product(1_000_000, json!({})).await;
    let load = Load::start(&[door(shop.service().front())], product, 16);
    load.sells(100).await;

    for _ in 0..2 {
        outage.begin(&server).await;
        until_unavailable(&load, 16).await;
        database_is(&shop, "down").await;
        outage.end(&server).await;
        load.sells(100).await;
        database_is(&shop, "up").await;
    }

    let received = load.finish().await;
    assert_answered(&received);
    let rows = shop.ledger.orders(product).await;
    assert_eq!(
        rows.len(),
        received.orders.len(),
        "one order per buyer: none is lost or duplicated"
    );
    for row in &rows {
        assert!(received.orders.contains(&row.id.to_string()));
    }
    shop.assert_books(product).await;
}

async fn with_own_server(server: &Postgres) -> Shop {
    Shop::plan(Backend::Postgres)
        .database(&server.url(), &server.url())
        .open()
        .await
}

/// Reads are refused in time as well, and the liveness check succeeds.
#[tokio::test]
async fn an_unresponsive_database_blocks_no_request() {
    let server = Postgres::open().await.unwrap();
    let shop = with_own_server(&server).await;
    let service = shop.service();
    let product = service.product(5, json!({})).await;
    let order = service.buy("ann", product, 1).await.success(201);
    server.pause().unwrap();

    let path = format!("/orders/{}", order["id"].as_str().unwrap());
    let ann = crate::support::tokens::user("ann");
    let calls = [
        service.order("bob", product, 1),
        service.get(&path).bearer(&ann),
        service.get("/orders").bearer(&ann),
        service.get("/products"),
        service.get("/health/ready"),
        service.get("/health"),
    ];
    let begun = Instant::now();
    let answers = crate::support::race::together(calls.into()).await;

    assert!(begun.elapsed() < ANSWERED_WITHIN, "{:?}", begun.elapsed());
    for answer in &answers[..3] {
        assert!(
            ["unavailable", "outcome_unknown"].contains(&answer.code().as_str()),
            "{answer:?}"
        );
        assert_eq!(answer.problem()["status"], 503);
        answer.retry_after();
    }
    // The first answers may be those of a check just before.
    for path in ["/health/ready", "/health"] {
        eventually("the service is not ready", SOON, async || {
            (service.get(path).send().await.status == 503).then_some(())
        })
        .await;
    }
    assert_eq!(service.get("/health/live").send().await.status, 200);
    server.resume().unwrap();
    eventually("the service sells again", SOON, async || {
        (service.buy("carl", product, 1).await.status == 201).then_some(())
    })
    .await;
}

/// As while a password is replaced: buyers may try again, and nobody looks for a bug. Also an order
/// without a key, whose first statement writes: connections that were idle are tried out before.
#[tokio::test]
async fn a_server_that_does_not_let_the_service_in_is_unavailable() {
    let database = Database::create().await;
    let role = format!("r_{}", Uuid::now_v7().simple());
    let ledger = Ledger::open(&database.url()).await;
    let create = format!("CREATE ROLE {role} LOGIN SUPERUSER");
    ledger.execute(&create).await;
    let url = database.url().replace("postgres@", &format!("{role}@"));
    assert_ne!(url, database.url());
    let shop = Shop::plan(Backend::Postgres)
        .database(&url, &database.url())
        .open()
        .await;
    let product = shop.service().product(5, json!({})).await;
    shop.service().buy("ann", product, 1).await.success(201);

    let end = format!(
        "SELECT pg_terminate_backend(pid)::text FROM pg_stat_activity WHERE usename = '{role}'"
    );
    ledger.execute(&format!("ALTER ROLE {role} NOLOGIN")).await;
    assert_ne!(ledger.texts(&end).await, [""; 0]);
    let ended = ledger.texts("SELECT clock_timestamp()::text").await;
    let idle = format!(
        "SELECT (clock_timestamp() - '{}'::timestamptz > interval '300 ms')::text",
        ended[0]
    );
    eventually("the connections were idle", SOON, async || {
        when(ledger.texts(&idle).await == ["true"])
    })
    .await;
    let order = || shop.service().order("bob", product, 1);
    order().send().await.refusal(503, "unavailable");
    order().key("k").send().await.refusal(503, "unavailable");
    database_is(&shop, "down").await;

    ledger.execute(&format!("ALTER ROLE {role} LOGIN")).await;
    database_is(&shop, "up").await;
    order().key("k").send().await.success(201);
    shop.assert_books(product).await;
}
