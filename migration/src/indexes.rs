//! Indexes that are built and removed beside the traffic, where the database can do that.

use sea_orm_migration::{prelude::*, sea_orm::DbBackend};

/// The word of `CREATE INDEX` and `DROP INDEX` on PostgreSQL; it forbids a transaction.
pub(crate) fn concurrently(manager: &SchemaManager<'_>) -> &'static str {
    if manager.get_database_backend() == DbBackend::Postgres {
        "CONCURRENTLY"
    } else {
        ""
    }
}

pub(crate) async fn drop_index(manager: &SchemaManager<'_>, name: &str) -> Result<(), DbErr> {
    let beside_sales = concurrently(manager);
    let sql = format!("DROP INDEX {beside_sales} IF EXISTS {name}");
    manager.get_connection().execute_unprepared(&sql).await?;
    Ok(())
}
