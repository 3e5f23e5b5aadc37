//! A table for secrets that the nodes make for each other: where only a public key is configured,
//! they have no other secret in common.

use sea_orm_migration::prelude::*;

#[derive(Debug, DeriveMigrationName)]
pub(crate) struct Migration;

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        let create = "CREATE TABLE shared_secrets (name text PRIMARY KEY, secret text NOT NULL)";
        let connection = manager.get_connection();
        connection.execute_unprepared(create).await.map(drop)
    }

    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        let connection = manager.get_connection();
        let dropped = connection.execute_unprepared("DROP TABLE shared_secrets");
        dropped.await.map(drop)
    }
}
