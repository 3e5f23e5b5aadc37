//! Upgrades: migrations that fail, are killed or meet load, roles without DDL, newer schemas.
//!
//! `tests/fixtures/0.1.0` has databases as that version left them, with orders of every status.

use std::{collections::BTreeSet, fs, process::Stdio};

use rstest::rstest;
use sea_orm::{ConnectionTrait, TransactionTrait};
use serde_json::json;
use tempfile::TempDir;
use test_support::process::Owned;
use uuid::Uuid;

use crate::support::{
    SOON, eventually,
    ledger::{Ledger, connect},
    service::{Service, ended, program},
    shop::Backend,
    upgrade::{OldNode, Place, kill_while_it_writes},
    when,
};

async fn assert_sells(service: &Service) {
    let product = service.product(1, json!({})).await;
    service.buy("ann", product, 1).await.success(201);
    let refused = service.buy("bob", product, 1).await;
    refused.refusal(409, "sold_out");
}

/// The name of an index that a migration creates is taken, so that it fails half-way.
#[rstest]
#[case::sqlite(Backend::Sqlite)]
#[case::postgres(Backend::Postgres)]
#[tokio::test]
async fn a_failed_migration_leaves_nothing_behind(#[case] backend: Backend) {
    let place = Place::empty(backend).await;
    if backend == Backend::Sqlite {
        fs::write(place.directory.path().join("shop.db"), "").unwrap();
    }
    let ledger = place.ledger().await;
    ledger.execute("CREATE TABLE stray (id integer)").await;
    let taken = "CREATE INDEX orders_user_id_id_idx ON stray (id)";
    ledger.execute(taken).await;

    let failed = place.run("migrate");

    let stderr = String::from_utf8(failed.stderr).unwrap();
    assert!(!failed.status.success(), "{stderr}");
    assert!(stderr.contains("create_orders"), "{stderr}");
    ledger.execute("DROP TABLE stray").await;
    place.migrate();
    assert_sells(&place.serve(&[]).await).await;
}

/// SIGKILL at sixteen points of the first start.
#[test]
fn a_database_whose_first_start_was_killed_starts_again() {
    for number in 0..16 {
        let data = TempDir::new().unwrap();
        let run = |command: &str| {
            let mut program = program();
            program.arg(command).env("DATA_DIR", data.path());
            program
        };
        let mut first = run("migrate").stdout(Stdio::null()).spawn().unwrap();
        kill_while_it_writes(&mut first, data.path(), number);

        let again = ended(&mut run("migrate"));
        assert!(again.status.success(), "{number}: {again:?}");
        let verified = ended(&mut run("verify"));
        assert!(verified.status.success(), "{number}: {verified:?}");
    }
}

/// A migration that builds indexes beside the traffic was killed before it was recorded, with one
/// index finished and another one unusable.
#[tokio::test]
async fn a_repeated_migration_keeps_the_indexes_that_are_finished() {
    const FINISHED: &str = "SELECT oid::text FROM pg_class \
                            WHERE relname = 'orders_product_id_user_id_idempotency_key_key'";
    let place = Place::empty(Backend::Postgres).await;
    place.migrate();
    let ledger = place.ledger().await;
    let finished = ledger.texts(FINISHED).await;
    for statement in [
        "DELETE FROM flash_sale_migrations WHERE name LIKE '%key_orders_by_product'",
        "UPDATE pg_index SET indisvalid = false WHERE indexrelid = \
            'waitlist_entries_product_id_user_id_idempotency_key_key'::regclass",
    ] {
        ledger.execute(statement).await;
    }

    place.migrate();

    assert_eq!(ledger.texts(FINISHED).await, finished);
    let unusable = "SELECT indexrelid::regclass::text FROM pg_index WHERE NOT indisvalid";
    assert!(ledger.texts(unusable).await.is_empty());
    assert_sells(&place.serve(&[]).await).await;
}

/// A reader keeps every table busy, as a backup or a report does: the migration tries several
/// times, and the orders that queue behind it wait less than 2 s.
#[rstest]
#[case::sqlite(Backend::Sqlite)]
#[case::postgres(Backend::Postgres)]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn data_of_the_former_version_is_migrated_under_load(#[case] backend: Backend) {
    let place = Place::before(backend).await;
    if backend == Backend::Postgres {
        place.ledger().await.execute(UNDO_LAST).await;
    }
    // Holds of the fixture may end meanwhile, and their units are then offered to the waitlist.
    let orders = "SELECT CAST(count(*) AS text) FROM orders WHERE NOT from_waitlist";
    let ledger = place.ledger().await;
    let before: usize = ledger.texts(orders).await[0].parse().unwrap();
    let node = OldNode::start(&place).await;
    node.sells(20).await;
    let reader = connect(&place.url).await.begin().await.unwrap();
    for table in ["orders", "products", "waitlist_entries"] {
        let read = format!("SELECT count(*) FROM {table}");
        reader.execute_unprepared(&read).await.unwrap();
    }

    let mut migration = Owned::new(place.command("migrate").spawn().unwrap());
    if backend == Backend::Postgres {
        tries_to_get_its_table(&ledger, 3).await;
        node.sells(20).await;
    }
    reader.commit().await.unwrap();
    assert!(migration.exit(SOON * 2).await.unwrap().success());

    node.sells(20).await;
    let service = place.serve(&[]).await;
    assert_sells(&service).await;
    node.sells(20).await;
    let sold = node.stop().await;
    let after: usize = ledger.texts(orders).await[0].parse().unwrap();
    assert_eq!(after, before + sold + 1, "no order is lost");
    place.assert_books();
}

/// So that there is a migration that needs a table which the reader keeps busy.
const UNDO_LAST: &str = "DROP TRIGGER keep_products_with_orders ON products; \
    DROP FUNCTION keep_products_with_orders(); \
    ALTER TABLE orders ADD CONSTRAINT orders_product_id_fkey \
        FOREIGN KEY (product_id) REFERENCES products (id); \
    DELETE FROM seaql_migrations WHERE version = 'm20261121_000005_let_the_fence_keep_products'";

/// Waits until the migration has waited for a lock in so many transactions.
async fn tries_to_get_its_table(ledger: &Ledger, tries: usize) {
    let waiting = "SELECT xact_start::text FROM pg_stat_activity \
        WHERE datname = current_database() AND pid <> pg_backend_pid() \
        AND wait_event_type = 'Lock' AND query ILIKE '%ALTER TABLE%'";
    let mut seen = BTreeSet::new();
    eventually("the migration tries again", SOON, async || {
        seen.extend(ledger.texts(waiting).await);
        when(seen.len() >= tries)
    })
    .await;
}

/// Version 0.1.0 refuses to start if this table names a migration that it does not know.
#[rstest]
#[case::sqlite(Backend::Sqlite)]
#[case::postgres(Backend::Postgres)]
#[tokio::test]
async fn the_former_version_knows_every_migration_in_its_table(#[case] backend: Backend) {
    let fresh = Place::empty(backend).await;
    let former = Place::before(backend).await;
    fresh.migrate();
    let names = "SELECT version FROM seaql_migrations ORDER BY version";
    let known = former.ledger().await.texts(names).await;

    former.migrate();

    assert_eq!(known.len(), 5);
    assert_eq!(former.ledger().await.texts(names).await, known);
    assert_eq!(fresh.ledger().await.texts(names).await, known);
}

#[rstest]
#[case::sqlite(Backend::Sqlite)]
#[case::postgres(Backend::Postgres)]
#[tokio::test]
async fn migrate_check_refuses_a_schema_that_lacks_migrations(#[case] backend: Backend) {
    for place in [Place::empty(backend).await, Place::before(backend).await] {
        let line = place.refusal("check");
        assert!(line.contains("MIGRATE") && line.contains("m2026"), "{line}");
        place.migrate();
        assert_sells(&place.serve(&[("MIGRATE", "check")]).await).await;
        place.assert_books();
    }
}

/// Adds a column, as a newer version could, and says which versions can use the schema.
async fn migrate_to_the_future(place: &Place, compatible_with: &str) {
    let ledger = place.ledger().await;
    for table in ["orders", "products", "waitlist_entries"] {
        let column = "from_the_future integer NOT NULL DEFAULT 0";
        let sql = format!("ALTER TABLE {table} ADD COLUMN {column}");
        ledger.execute(&sql).await;
    }
    let row = format!(
        "INSERT INTO flash_sale_migrations (name, compatible_with, applied_at) \
         VALUES ('m20991231_000001_from_the_future', '{compatible_with}', 4102358400)"
    );
    ledger.execute(&row).await;
}

#[rstest]
#[case::sqlite(Backend::Sqlite)]
#[case::postgres(Backend::Postgres)]
#[tokio::test]
async fn a_newer_schema_is_used_if_it_says_that_it_is_compatible(#[case] backend: Backend) {
    let place = Place::empty(backend).await;
    place.migrate();
    migrate_to_the_future(&place, "m20261121_000005_let_the_fence_keep_products").await;

    for migrate in ["auto", "check", "off"] {
        assert_sells(&place.serve(&[("MIGRATE", migrate)]).await).await;
    }
    place.migrate();
    place.assert_books();
}

#[rstest]
#[case::sqlite(Backend::Sqlite)]
#[case::postgres(Backend::Postgres)]
#[tokio::test]
async fn a_newer_schema_that_is_not_compatible_is_refused(#[case] backend: Backend) {
    let place = Place::empty(backend).await;
    place.migrate();
    migrate_to_the_future(&place, "m20991231_000001_from_the_future").await;

    for migrate in ["auto", "check"] {
        let line = place.refusal(migrate);
        assert!(line.contains("m20991231_000001_from_the_future"), "{line}");
    }
    assert!(!place.run("migrate").status.success());
}

/// `serve` needs no right to change the schema.
#[rstest]
#[case::auto("auto")]
#[case::check("check")]
#[case::off("off")]
#[tokio::test]
async fn a_role_that_may_only_read_and_write_rows_can_serve(#[case] migrate: &str) {
    let place = Place::before(Backend::Postgres).await;
    place.migrate();
    let role = format!("r_{}", Uuid::now_v7().simple());
    let ledger = place.ledger().await;
    for sql in [
        format!("CREATE ROLE {role} LOGIN"),
        format!("GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA public TO {role}"),
        format!("GRANT USAGE ON ALL SEQUENCES IN SCHEMA public TO {role}"),
    ] {
        ledger.execute(&sql).await;
    }
    let url = place.url.replace("postgres@", &format!("{role}@"));
    assert_ne!(url, place.url);
    let refused = connect(&url).await;
    let created = refused.execute_unprepared("CREATE TABLE mine (id integer)");
    assert!(created.await.is_err(), "the role may not change the schema");

    let service = place
        .serve(&[("DATABASE_URL", &url), ("MIGRATE", migrate)])
        .await;

    assert_sells(&service).await;
    let seat = service.sold_out().await;
    assert_eq!(service.join("ann", seat, 1).await, 1);
    place.assert_books();
}
