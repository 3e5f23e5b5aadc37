//! Creates the table `waitlist_entries`; `position` is a sequence that is never reused.

use sea_orm_migration::{prelude::*, schema};

use crate::m20261121_000001_create_products::Products;

#[derive(Debug, DeriveMigrationName)]
pub(crate) struct Migration;

#[derive(Iden)]
enum WaitlistEntries {
    Table,
    Position,
    ProductId,
    UserId,
    Quantity,
    Status,
    CreatedAt,
}

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        manager.create_table(table()).await?;
        manager
            .create_index(
                Index::create()
                    .name("waitlist_entries_active_key")
                    .table(WaitlistEntries::Table)
                    .col(WaitlistEntries::ProductId)
                    .col(WaitlistEntries::UserId)
                    .unique()
                    .and_where(Expr::col(WaitlistEntries::Status).eq("waiting"))
                    .clone(),
            )
            .await
    }

    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        manager
            .drop_table(Table::drop().table(WaitlistEntries::Table).clone())
            .await
    }
}

fn table() -> TableCreateStatement {
    Table::create()
        .table(WaitlistEntries::Table)
        .col(
            ColumnDef::new(WaitlistEntries::Position)
                .big_integer()
                .not_null()
                .auto_increment()
                .primary_key(),
        )
        .col(schema::uuid(WaitlistEntries::ProductId))
        .col(schema::text(WaitlistEntries::UserId))
        .col(schema::integer(WaitlistEntries::Quantity))
        .col(schema::text(WaitlistEntries::Status))
        .col(schema::timestamp_with_time_zone(WaitlistEntries::CreatedAt))
        .check((
            "waitlist_entries_quantity_positive",
            Expr::col(WaitlistEntries::Quantity).gte(1),
        ))
        .foreign_key(
            ForeignKey::create()
                .name("waitlist_entries_product_id_fkey")
                .from(WaitlistEntries::Table, WaitlistEntries::ProductId)
                .to(Products::Table, Products::Id),
        )
        .clone()
}
