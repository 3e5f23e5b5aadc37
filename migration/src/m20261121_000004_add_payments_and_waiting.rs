//! Adds the payment columns of `orders`, and reserved units and offers for the waitlist.
//!
//! Recreates `waitlist_entries`, which is empty: no user could join the waitlist before.

use sea_orm_migration::{prelude::*, schema};

use crate::{
    m20261121_000001_create_products::Products, m20261121_000002_create_orders::Orders,
    m20261121_000003_create_waitlist_entries as before,
};

#[derive(Debug, DeriveMigrationName)]
pub(crate) struct Migration;

#[derive(Iden)]
enum Added {
    WaitlistSkip,
    StockReserved,
    PaymentId,
    PaymentStatus,
    PaymentMethod,
    PaymentAttempt,
    PaymentBegunAt,
    PaymentAskedAt,
    FromWaitlist,
}

#[derive(Iden)]
enum WaitlistEntries {
    Table,
    Position,
    Id,
    ProductId,
    UserId,
    Quantity,
    Status,
    OrderId,
    IdempotencyKey,
    IdempotencyRequest,
    CreatedAt,
}

const WAITING: [&str; 3] = ["waiting", "offered", "left"];

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        for column in product_columns() {
            let mut table = Table::alter();
            table.table(Products::Table).add_column(column);
            manager.alter_table(table).await?;
        }
        for column in order_columns() {
            let mut table = Table::alter();
            table.table(Orders::Table).add_column(column);
            manager.alter_table(table).await?;
        }
        manager.create_index(asked_index()).await?;
        manager.create_index(reserved_index()).await?;
        let mut old = Table::drop();
        manager
            .drop_table(old.table(WaitlistEntries::Table).clone())
            .await?;
        manager.create_table(table()).await?;
        for index in indexes() {
            manager.create_index(index).await?;
        }
        Ok(())
    }

    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        let mut entries = Table::drop();
        manager
            .drop_table(entries.table(WaitlistEntries::Table).clone())
            .await?;
        before::Migration.up(manager).await?;
        manager
            .drop_index(Index::drop().name(ASKED_INDEX).table(Orders::Table).clone())
            .await?;
        for column in [
            Added::PaymentId,
            Added::PaymentStatus,
            Added::PaymentMethod,
            Added::PaymentAttempt,
            Added::PaymentBegunAt,
            Added::PaymentAskedAt,
            Added::FromWaitlist,
        ] {
            let mut table = Table::alter();
            table.table(Orders::Table).drop_column(column);
            manager.alter_table(table).await?;
        }
        let mut reserved = Index::drop();
        reserved.name(RESERVED_INDEX).table(Products::Table);
        manager.drop_index(reserved).await?;
        for column in [Added::WaitlistSkip, Added::StockReserved] {
            let mut table = Table::alter();
            table.table(Products::Table).drop_column(column);
            manager.alter_table(table).await?;
        }
        Ok(())
    }
}

fn product_columns() -> [ColumnDef; 2] {
    let reserved = Expr::col(Added::StockReserved);
    let within_stock = reserved
        .clone()
        .gte(0)
        .and(reserved.lte(Expr::col(Products::Stock)));
    [
        ColumnDef::new(Added::WaitlistSkip)
            .boolean()
            .not_null()
            .default(false)
            .take(),
        ColumnDef::new(Added::StockReserved)
            .integer()
            .not_null()
            .default(0)
            .check(("products_stock_reserved_within_stock", within_stock))
            .take(),
    ]
}

fn order_columns() -> [ColumnDef; 7] {
    [
        schema::text_null(Added::PaymentId).take(),
        schema::text_null(Added::PaymentStatus).take(),
        schema::text_null(Added::PaymentMethod).take(),
        ColumnDef::new(Added::PaymentAttempt)
            .integer()
            .not_null()
            .default(0)
            .take(),
        schema::timestamp_with_time_zone_null(Added::PaymentBegunAt).take(),
        schema::timestamp_with_time_zone_null(Added::PaymentAskedAt).take(),
        ColumnDef::new(Added::FromWaitlist)
            .boolean()
            .not_null()
            .default(false)
            .take(),
    ]
}

const ASKED_INDEX: &str = "orders_payment_asked_at_idx";

/// A partial index, because few orders wait for an answer of the gateway.
fn asked_index() -> IndexCreateStatement {
    Index::create()
        .name(ASKED_INDEX)
        .table(Orders::Table)
        .col(Added::PaymentAskedAt)
        .and_where(Expr::col(Added::PaymentAskedAt).is_not_null())
        .clone()
}

const RESERVED_INDEX: &str = "products_reserved_idx";

/// For a job that polls for products with units reserved for the waitlist.
fn reserved_index() -> IndexCreateStatement {
    Index::create()
        .name(RESERVED_INDEX)
        .table(Products::Table)
        .col(Added::StockReserved)
        .and_where(Expr::col(Added::StockReserved).gt(0))
        .clone()
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
        .col(schema::uuid(WaitlistEntries::Id))
        .col(schema::uuid(WaitlistEntries::ProductId))
        .col(schema::text(WaitlistEntries::UserId))
        .col(schema::integer(WaitlistEntries::Quantity))
        .col(schema::text(WaitlistEntries::Status))
        .col(schema::uuid_null(WaitlistEntries::OrderId))
        .col(schema::text_null(WaitlistEntries::IdempotencyKey))
        .col(schema::text_null(WaitlistEntries::IdempotencyRequest))
        .col(schema::timestamp_with_time_zone(WaitlistEntries::CreatedAt))
        .check((
            "waitlist_entries_quantity_positive",
            Expr::col(WaitlistEntries::Quantity).gte(1),
        ))
        .check((
            "waitlist_entries_status_known",
            Expr::col(WaitlistEntries::Status).is_in(WAITING),
        ))
        .foreign_key(
            ForeignKey::create()
                .name("waitlist_entries_product_id_fkey")
                .from(WaitlistEntries::Table, WaitlistEntries::ProductId)
                .to(Products::Table, Products::Id),
        )
        .clone()
}

fn indexes() -> [IndexCreateStatement; 5] {
    let index = |name: &str| {
        let mut index = Index::create();
        index.name(name).table(WaitlistEntries::Table);
        index
    };
    let waiting = || Expr::col(WaitlistEntries::Status).eq("waiting");
    [
        index("waitlist_entries_id_key")
            .col(WaitlistEntries::Id)
            .unique()
            .take(),
        index("waitlist_entries_active_key")
            .col(WaitlistEntries::ProductId)
            .col(WaitlistEntries::UserId)
            .unique()
            .and_where(waiting())
            .take(),
        index("waitlist_entries_queue_idx")
            .col(WaitlistEntries::ProductId)
            .col(WaitlistEntries::Position)
            .and_where(waiting())
            .take(),
        index("waitlist_entries_user_id_idx")
            .col(WaitlistEntries::UserId)
            .col(WaitlistEntries::Position)
            .and_where(waiting())
            .take(),
        index("waitlist_entries_user_id_idempotency_key_key")
            .col(WaitlistEntries::UserId)
            .col(WaitlistEntries::IdempotencyKey)
            .unique()
            .and_where(Expr::col(WaitlistEntries::IdempotencyKey).is_not_null())
            .take(),
    ]
}
