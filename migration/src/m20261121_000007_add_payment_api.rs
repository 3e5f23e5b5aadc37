//! Adds what a payment needs that waits for its buyer's authentication, the number of declined
//! payments, and payments that were made outside of the service.
//!
//! Every column is nullable or has a constant default, so that no row is rewritten and nodes of the
//! version before can go on inserting.

use sea_orm_migration::{prelude::*, schema};

use crate::m20261121_000002_create_orders::Orders;

#[derive(Debug, DeriveMigrationName)]
pub(crate) struct Migration;

#[derive(Clone, Copy, Iden)]
enum Added {
    PaymentClientSecret,
    PaymentActionUntil,
    PaymentDeclines,
    ExternalProvider,
    ExternalReference,
}

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        for column in columns() {
            let mut table = Table::alter();
            table.table(Orders::Table).add_column(column);
            manager.alter_table(table).await?;
        }
        Ok(())
    }

    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        for column in [
            Added::ExternalReference,
            Added::ExternalProvider,
            Added::PaymentDeclines,
            Added::PaymentActionUntil,
            Added::PaymentClientSecret,
        ] {
            let mut table = Table::alter();
            table.table(Orders::Table).drop_column(column);
            manager.alter_table(table).await?;
        }
        Ok(())
    }
}

fn columns() -> [ColumnDef; 5] {
    [
        schema::text_null(Added::PaymentClientSecret).take(),
        schema::timestamp_with_time_zone_null(Added::PaymentActionUntil).take(),
        ColumnDef::new(Added::PaymentDeclines)
            .integer()
            .not_null()
            .default(0)
            .take(),
        schema::text_null(Added::ExternalProvider).take(),
        schema::text_null(Added::ExternalReference).take(),
    ]
}
