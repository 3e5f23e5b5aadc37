//! Tables that operators have partitioned by product (`deploy/partitioning`).
//!
//! `scripts/test --partitioned` runs the other tests on such tables.

use std::{sync::Arc, time::Instant};

use flash_sale::domain::reference;
use sea_orm::{ConnectionTrait, TransactionTrait};
use serde_json::json;
use uuid::Uuid;

use crate::support::{
    lanes::sequencer,
    ledger::{Ledger, connect},
    postgres::Database,
    service::{ended, program},
    shop::{Backend, Shop},
    upgrade::Place,
};

/// Keeps every statement out of the partitions of the other products.
async fn lock_others(ledger: &Ledger, url: &str, product: Uuid) -> sea_orm::DatabaseTransaction {
    let others = format!(
        "SELECT string_agg(partition.oid::regclass::text, ', ') FROM pg_class AS partition \
         JOIN pg_inherits ON inhrelid = partition.oid WHERE relkind = 'r' AND right(relname, 3) <> \
         (SELECT right(tableoid::regclass::text, 3) FROM products WHERE id = '{product}')"
    );
    let others = &ledger.texts(&others).await[0];
    assert_eq!(others.split(", ").count(), 3 * 7, "{others}");
    let locked = connect(url).await.begin().await.unwrap();
    let lock = format!("LOCK TABLE {others} IN ACCESS EXCLUSIVE MODE");
    locked.execute_unprepared(&lock).await.unwrap();
    locked
}

/// Orders, with limits and keys, repeated, refused, expired and on the waitlist.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_hot_path_reads_and_writes_the_partition_of_its_product_only() {
    let database = Database::partitioned("8").await;
    let url = database.url();
    let shop = Shop::plan(Backend::Postgres)
        .database(&url, &url)
        .open()
        .await;
    let service = shop.service();
    let terms = json!({
        "hold_seconds": 600, "waitlist": true, "max_per_user": 20, "max_per_order": 20,
    });
    let product = service.product(3, terms).await;
    let lanes = sequencer(&url, reference).await;
    let locked = lock_others(&shop.ledger, &url, product).await;
    let end_holds = format!(
        "UPDATE orders SET expires_at = created_at WHERE product_id = '{product}' \
         AND status = 'pending'"
    );

    // Each statement a few times only: to plan its sixth execution on a connection, PostgreSQL looks
    // at every partition, however few of them it then reads.
    let all = || service.order("ann", product, 3).key("all");
    all().send().await.success(201);
    all().send().await.success(201);
    let more = service.buy("ann", product, 20).await;
    more.refusal(409, "purchase_limit");
    service.join("leaves", product, 1).await;
    // The API first reads the place, whose position is planned for every partition.
    let left = lanes.leave(product, Arc::from("leaves"), Instant::now());
    assert!(left.await.unwrap());
    service.join("is-served", product, 1).await;
    service.restock(product, 1).await.success(200);
    // The job that does this looks for products in every partition.
    shop.ledger.execute(&end_holds).await;
    lanes.expire_holds(product, Instant::now()).await.unwrap();
    assert_eq!(shop.ledger.product(product).await.stock, 4);

    locked.rollback().await.unwrap();
    shop.assert_books(product).await;
}

/// Orders of every status, places and offers of a former version.
#[tokio::test]
async fn the_rows_and_rights_of_a_filled_database_are_kept() {
    const COUNTS: &str = "SELECT 'orders ' || COUNT(*) || ' ' || SUM(quantity) FROM orders \
        UNION ALL SELECT 'products ' || COUNT(*) || ' ' || SUM(stock) FROM products \
        UNION ALL SELECT 'entries ' || COUNT(*) || ' ' || MAX(position) FROM waitlist_entries";
    let place = Place::before(Backend::Postgres).await;
    place.migrate();
    let ledger = place.ledger().await;
    let role = format!("r_{}", Uuid::now_v7().simple());
    for sql in [
        format!("CREATE ROLE {role} LOGIN"),
        format!("GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA public TO {role}"),
        format!("GRANT USAGE ON ALL SEQUENCES IN SCHEMA public TO {role}"),
    ] {
        ledger.execute(&sql).await;
    }
    let before = ledger.texts(COUNTS).await;

    place.database.as_ref().unwrap().partition("3").await;

    assert_eq!(ledger.texts(COUNTS).await, before);
    place.assert_books();
    let url = place.url.replace("postgres@", &format!("{role}@"));
    let service = place.serve(&[("DATABASE_URL", &url)]).await;
    let body = json!({ "sku": "twice", "hold_seconds": 600, "waitlist": true });
    let product = service.product(1, body.clone()).await;
    service.buy("ann", product, 1).await.success(201);
    assert_eq!(service.join("bob", product, 1).await, 1);
    let taken = service.change(product, &json!({ "sku": "plain" })).await;
    taken.refusal(409, "sku_taken");
    let renamed = service.change(product, &json!({ "sku": "once" })).await;
    renamed.success(200);
    service.product(1, body).await;
    place.assert_books();
    drop(service);
    let owned = format!("DROP OWNED BY {role}; DROP ROLE {role}");
    ledger.execute(&owned).await;
}

/// As of an upgrade that was interrupted after its index of one partition.
#[tokio::test]
async fn a_migration_builds_its_index_on_every_partition() {
    let database = Database::partitioned("3").await;
    let ledger = Ledger::open(&database.url()).await;
    let name = "orders_product_id_user_id_idempotency_key_key";
    let columns = "(product_id, user_id, idempotency_key) WHERE idempotency_key IS NOT NULL";
    for sql in [
        format!("DROP INDEX {name}"),
        format!("CREATE UNIQUE INDEX {name} ON ONLY orders {columns}"),
        format!("CREATE UNIQUE INDEX {name}_p1 ON orders_p1 {columns}"),
        format!("ALTER INDEX {name} ATTACH PARTITION {name}_p1"),
        "DROP INDEX waitlist_entries_user_id_idempotency_key_idx".to_owned(),
        "CREATE INDEX waitlist_entries_user_id_idempotency_key_key ON waitlist_entries (user_id)"
            .to_owned(),
        "DELETE FROM flash_sale_migrations WHERE name LIKE '%key_orders_by_product'".to_owned(),
    ] {
        ledger.execute(&sql).await;
    }

    let migrate = ["migrate", "--database-url", &database.url()];
    let migrated = ended(program().args(migrate));
    assert!(migrated.status.success(), "{migrated:?}");

    let parts = format!(
        "SELECT relname || ' ' || indisvalid FROM pg_index JOIN pg_class ON oid = indexrelid \
         WHERE relname ~ '^({name}|waitlist_entries_user_id_idempotency_key_(key|idx))(_p.)?$' \
         ORDER BY relname"
    );
    let parts = ledger.texts(&parts).await;
    let expected = [name, "waitlist_entries_user_id_idempotency_key_idx"]
        .map(|name| ["", "_p0", "_p1", "_p2"].map(|part| format!("{name}{part} true")));
    assert_eq!(parts, expected.concat());
}
