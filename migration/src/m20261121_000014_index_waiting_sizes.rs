//! An index of waiting entries by size: with `waitlist_skip`, the first entries that a number of
//! units could serve are found without reading the larger ones before them.

use sea_orm_migration::{prelude::*, sea_orm::DbBackend};

#[derive(Debug, DeriveMigrationName)]
pub(crate) struct Migration;

const COLUMNS: &str = "waitlist_entries (product_id, quantity, position) WHERE status = 'waiting'";

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    /// Entries are written while the index is built.
    fn use_transaction(&self) -> Option<bool> {
        Some(false)
    }

    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        let connection = manager.get_connection();
        if manager.get_database_backend() != DbBackend::Postgres {
            let create = format!("CREATE INDEX waitlist_entries_size_idx ON {COLUMNS}");
            return connection.execute_unprepared(&create).await.map(drop);
        }
        // A build that was interrupted leaves an unusable index.
        let drop_rest = "DROP INDEX CONCURRENTLY IF EXISTS waitlist_entries_size_idx";
        connection.execute_unprepared(drop_rest).await?;
        let create = format!("CREATE INDEX CONCURRENTLY waitlist_entries_size_idx ON {COLUMNS}");
        connection.execute_unprepared(&create).await.map(drop)
    }

    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        let connection = manager.get_connection();
        let dropped = connection.execute_unprepared("DROP INDEX waitlist_entries_size_idx");
        dropped.await.map(drop)
    }
}
