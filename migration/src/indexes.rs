//! Indexes that are built and removed beside the traffic, where the database can do that.
//!
//! Operators may have partitioned a table on PostgreSQL (`deploy/partitioning`). Its indexes cannot
//! be built beside the traffic as a whole: they are built on one partition after the other.

use sea_orm_migration::{
    prelude::*,
    sea_orm::{DbBackend, QueryResult, Statement},
};

/// An index, in the parts of its statement.
#[derive(Debug)]
pub(crate) struct Index<'a> {
    /// `INDEX` or `UNIQUE INDEX`.
    pub(crate) kind: &'a str,
    pub(crate) name: &'a str,
    pub(crate) table: &'a str,
    /// What follows the table's name: the columns in parentheses, and a condition.
    pub(crate) definition: &'a str,
}

impl Index<'_> {
    /// The statement that creates it, or a partition's part of it, under this name.
    fn create(&self, beside_sales: &str, name: &str, on: &str) -> String {
        let Index {
            kind, definition, ..
        } = self;
        format!("CREATE {kind} {beside_sales} {name} ON {on} {definition}")
    }
}

/// While such a statement waits for its table, those of orders wait behind it. The whole migration
/// is tried again.
const IMPATIENT: &str = "SET lock_timeout = '500ms'";
/// That of a migration without a transaction.
const PATIENT: &str = "SET lock_timeout = '60s'";

/// The word of `CREATE INDEX` and `DROP INDEX` on PostgreSQL; it forbids a transaction.
pub(crate) fn concurrently(manager: &SchemaManager<'_>) -> &'static str {
    if manager.get_database_backend() == DbBackend::Postgres {
        "CONCURRENTLY"
    } else {
        ""
    }
}

/// Builds an index, unless a former try has finished it. Only for migrations without a transaction.
pub(crate) async fn build_index(
    manager: &SchemaManager<'_>,
    index: &Index<'_>,
) -> Result<(), DbErr> {
    let Index { name, table, .. } = index;
    if is_usable(manager, name).await? {
        return Ok(());
    }
    if is_partitioned(manager, table).await? {
        return build_partitioned(manager, index).await;
    }
    // A build that was interrupted leaves an unusable index.
    drop_index(manager, name).await?;
    let create = index.create(concurrently(manager), name, table);
    execute(manager, &create).await
}

/// The index of the table becomes usable with the last partition's.
async fn build_partitioned(manager: &SchemaManager<'_>, index: &Index<'_>) -> Result<(), DbErr> {
    let Index { name, table, .. } = index;
    let begun = format!("SELECT 1 WHERE to_regclass('{name}') IS NOT NULL");
    if rows(manager, &begun).await?.is_empty() {
        let create = index.create("", name, &format!("ONLY {table}"));
        impatiently(manager, &create).await?;
    }
    let partitions = format!(
        "SELECT inhrelid::regclass::text, right(inhrelid::regclass::text, -length('{table}')) \
         FROM pg_inherits WHERE inhparent = '{table}'::regclass ORDER BY 1"
    );
    for row in rows(manager, &partitions).await? {
        let partition: String = row.try_get_by_index(0)?;
        // The service knows a violated key by a text that contains the name of the whole index.
        let part = format!("{name}{}", row.try_get_by_index::<String>(1)?);
        if !is_usable(manager, &part).await? {
            execute(
                manager,
                &format!("DROP INDEX CONCURRENTLY IF EXISTS {part}"),
            )
            .await?;
            let create = index.create("CONCURRENTLY", &part, &partition);
            execute(manager, &create).await?;
        }
        let attach = format!("ALTER INDEX {name} ATTACH PARTITION {part}");
        impatiently(manager, &attach).await?;
    }
    Ok(())
}

pub(crate) async fn drop_index(manager: &SchemaManager<'_>, name: &str) -> Result<(), DbErr> {
    if is_partitioned(manager, name).await? {
        return impatiently(manager, &format!("DROP INDEX IF EXISTS {name}")).await;
    }
    let beside_sales = concurrently(manager);
    execute(
        manager,
        &format!("DROP INDEX {beside_sales} IF EXISTS {name}"),
    )
    .await
}

/// Whether it is a partitioned table, or an index of one.
async fn is_partitioned(manager: &SchemaManager<'_>, name: &str) -> Result<bool, DbErr> {
    if manager.get_database_backend() != DbBackend::Postgres {
        return Ok(false);
    }
    let partitioned = format!(
        "SELECT 1 FROM pg_class WHERE oid = to_regclass('{name}') AND relkind IN ('p', 'I')"
    );
    Ok(!rows(manager, &partitioned).await?.is_empty())
}

/// Whether a former try has built the index. SQLite keeps nothing of a try that failed.
async fn is_usable(manager: &SchemaManager<'_>, name: &str) -> Result<bool, DbErr> {
    if manager.get_database_backend() != DbBackend::Postgres {
        return Ok(false);
    }
    let usable =
        format!("SELECT 1 FROM pg_index WHERE indexrelid = to_regclass('{name}') AND indisvalid");
    Ok(!rows(manager, &usable).await?.is_empty())
}

async fn rows(manager: &SchemaManager<'_>, sql: &str) -> Result<Vec<QueryResult>, DbErr> {
    let statement = Statement::from_string(DbBackend::Postgres, sql);
    manager.get_connection().query_all_raw(statement).await
}

async fn execute(manager: &SchemaManager<'_>, sql: &str) -> Result<(), DbErr> {
    manager.get_connection().execute_unprepared(sql).await?;
    Ok(())
}

async fn impatiently(manager: &SchemaManager<'_>, sql: &str) -> Result<(), DbErr> {
    execute(manager, IMPATIENT).await?;
    let done = execute(manager, sql).await;
    execute(manager, PATIENT).await?;
    done
}
