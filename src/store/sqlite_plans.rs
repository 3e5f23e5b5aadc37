//! For tests: how SQLite executes a statement. `tests/it/plans.rs` reads the plans of PostgreSQL.

use std::time::Duration;

use sea_orm::{ConnectionTrait, DbBackend, Statement, Value, Values};
use tempfile::TempDir;

use super::{Connections, Store, Url};

/// A new database; it lasts as long as its folder.
pub(super) async fn database() -> (TempDir, Store) {
    let folder = tempfile::tempdir().unwrap();
    let url = format!("sqlite://{}", folder.path().join("shop.db").display());
    let url = Url::new(&url);
    Store::migrate(&url).await.unwrap();
    let connections = Connections {
        max: 2,
        write_within: Duration::from_secs(1),
    };
    let store = Store::connect(&url, connections).await.unwrap();
    (folder, store)
}

/// Asserts that the look-up of keys reads the index of so many tables once for each of them.
pub(super) async fn assert_probes_each_key(sql: &str, tables: usize) {
    let (_folder, store) = database().await;
    let values = Values(vec![Value::from("product"), Value::from("[]")]);
    let plan = plan(&store, sql, values).await;
    let probe = "(product_id=? AND user_id=? AND idempotency_key=?)";
    assert_eq!(plan.matches(probe).count(), tables, "{plan}");
}

/// The steps of the statement, a line each.
pub(super) async fn plan(store: &Store, sql: &str, values: Values) -> String {
    let explain = format!("EXPLAIN QUERY PLAN {sql}");
    let explain = Statement::from_sql_and_values(DbBackend::Sqlite, explain, values);
    let steps = store.read.query_all_raw(explain).await.unwrap();
    let steps = steps.iter().map(|step| step.try_get("", "detail").unwrap());
    steps.collect::<Vec<String>>().join("\n")
}
