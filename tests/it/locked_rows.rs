//! A row that somebody else keeps locked: its product waits, everything else goes on.

use std::{collections::BTreeSet, time::Duration};

use sea_orm::{ConnectionTrait, DatabaseConnection, DbBackend, Statement, TransactionTrait};
use serde_json::json;

use crate::support::{
    SOON, eventually, ledger,
    load::{Load, door},
    shop::{Backend, Shop},
    when,
};

/// The process ids of the service's connections on the server.
async fn connections(database: &DatabaseConnection) -> BTreeSet<i32> {
    let service = "SELECT pid FROM pg_stat_activity \
        WHERE datname = current_database() AND application_name = 'flash-sale'";
    pids(database, service).await
}

/// The first column, which holds process ids.
async fn pids(database: &DatabaseConnection, sql: &str) -> BTreeSet<i32> {
    let statement = Statement::from_string(DbBackend::Postgres, sql);
    let rows = database.query_all_raw(statement).await.unwrap();
    rows.iter()
        .map(|row| row.try_get_by_index(0).unwrap())
        .collect()
}

/// A statement that waits for the row ends by itself, so the database never looks silent: no
/// connection is given up, and no order on another product fails.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_locked_row_costs_no_connection_and_no_order_on_another_product() {
    let shop = Shop::plan(Backend::Postgres)
        .set("REQUEST_TIMEOUT_MS", "2000")
        .open()
        .await;
    let locked = shop.service().product(1_000, json!({})).await;
    let free = shop.service().product(1_000_000, json!({})).await;
    let load = Load::start(&[door(shop.service().front())], free, 8);
    load.sells(100).await;
    let database = ledger::connect(&shop.database_url).await;
    let other = ledger::connect(&shop.database_url).await;
    let before = connections(&database).await;
    assert!(before.len() >= 2, "{before:?}");

    let transaction = other.begin().await.unwrap();
    let lock = format!("SELECT 1 FROM products WHERE id = '{locked}' FOR UPDATE");
    transaction.execute_unprepared(&lock).await.unwrap();
    for buyer in ["ann", "bob"] {
        let answer = shop.service().buy(buyer, locked, 1).await;
        answer.refusal(503, "unavailable");
        load.sells(20).await;
    }
    transaction.rollback().await.unwrap();

    let after = connections(&database).await;
    assert!(before.is_subset(&after), "{before:?} became {after:?}");
    let metrics = shop.service().metrics().await;
    assert!(metrics.shows("flash_sale_db_connections_revoked_total", &[], 0));
    let told = load.finish().await;
    assert!(told.refusals.is_empty(), "{:?}", told.refusals);
    eventually("the locked product sells again", SOON, async || {
        when(shop.service().buy("carl", locked, 1).await.status == 201)
    })
    .await;
    shop.assert_books(locked).await;
    shop.assert_books(free).await;
}

/// The session may be busy or idle. The service's own, which wait for it, are none to end.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_query_of_the_runbook_names_the_session_that_keeps_a_row_locked() {
    let runbook = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/RUNBOOK.md");
    let runbook = std::fs::read_to_string(runbook).unwrap();
    let (_, section) = runbook.split_once("## FlashSaleLaneStuck").unwrap();
    let (_, query) = section.split_once("```sql").unwrap();
    let (query, _) = query.split_once("```").unwrap();
    let shop = Shop::open(Backend::Postgres).await;
    let product = shop.service().product(10, json!({})).await;
    let database = ledger::connect(&shop.database_url).await;
    let other = ledger::connect(&shop.database_url).await;
    let other_pid = pids(&other, "SELECT pg_backend_pid()").await;

    let transaction = other.begin().await.unwrap();
    let lock = format!("SELECT 1 FROM products WHERE id = '{product}' FOR UPDATE");
    transaction.execute_unprepared(&lock).await.unwrap();
    let diagnosis = async {
        let said = "the log says that a session keeps a row locked";
        eventually(said, SOON, async || {
            shop.service().buy("ann", product, 1).await;
            when(shop.log().contains("keeps a row locked"))
        })
        .await;
    };
    let cure = async {
        // In between, a try of the lane may have just ended.
        eventually("the query names that session alone", SOON, async || {
            when(pids(&database, query).await == other_pid)
        })
        .await;
        diagnosis.await;
        for pid in &other_pid {
            let end = format!("SELECT pg_terminate_backend({pid})");
            database.execute_unprepared(&end).await.unwrap();
        }
    };
    let waiting = shop.service().buy("bob", product, 1);
    let busy = transaction.execute_unprepared("SELECT pg_sleep(120)");
    let (ended, _, ()) = tokio::join!(busy, waiting, cure);

    assert!(ended.is_err(), "the session was ended");
    eventually("the product sells again", SOON, async || {
        when(shop.service().buy("carl", product, 1).await.status == 201)
    })
    .await;
    shop.assert_books(product).await;
}

/// The server ends a statement before its caller would take it for silent.
#[tokio::test]
async fn the_servers_time_limits_end_below_the_time_of_a_batch() {
    for (timeout, statement, lock) in [
        ("5000", 1_000, 500),
        ("2000", 400, 200),
        ("600000", 2_000, 750),
    ] {
        let shop = Shop::plan(Backend::Postgres)
            .set("REQUEST_TIMEOUT_MS", timeout)
            .open()
            .await;
        let product = shop.service().product(5, json!({})).await;
        // A function of the database, so that the limits of the session that inserts are read.
        for sql in [
            "CREATE TABLE limits AS SELECT current_setting('statement_timeout')::interval AS statement, \
                current_setting('lock_timeout')::interval AS lock LIMIT 0",
            "CREATE FUNCTION note() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN \
                INSERT INTO limits VALUES (current_setting('statement_timeout')::interval, \
                    current_setting('lock_timeout')::interval); RETURN NEW; END $$",
            "CREATE TRIGGER note AFTER INSERT ON orders FOR EACH ROW EXECUTE FUNCTION note()",
        ] {
            shop.ledger.execute(sql).await;
        }
        shop.service().buy("ann", product, 1).await.success(201);

        let database = ledger::connect(&shop.database_url).await;
        let read = "SELECT (extract(epoch FROM statement) * 1000)::int, \
            (extract(epoch FROM lock) * 1000)::int FROM limits";
        let row = database
            .query_one_raw(Statement::from_string(DbBackend::Postgres, read))
            .await
            .unwrap()
            .unwrap();
        let limits: (i32, i32) = (
            row.try_get_by_index(0).unwrap(),
            row.try_get_by_index(1).unwrap(),
        );
        assert_eq!(limits, (statement, lock), "{timeout}");
        let write: u64 = timeout.parse::<u64>().unwrap() / 4;
        let statement = u64::try_from(limits.0).unwrap();
        assert!(Duration::from_millis(statement) < Duration::from_millis(write));
    }
}
