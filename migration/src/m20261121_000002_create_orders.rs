//! Creates the table `orders`; its unique keys prevent duplicate orders.

use sea_orm_migration::{prelude::*, schema};

use crate::m20261121_000001_create_products::Products;

#[derive(Debug, DeriveMigrationName)]
pub(crate) struct Migration;

#[derive(Iden)]
pub(crate) enum Orders {
    Table,
    Id,
    Reference,
    ProductId,
    UserId,
    Quantity,
    UnitPrice,
    Currency,
    Status,
    IdempotencyKey,
    IdempotencyRequest,
    CreatedAt,
    ExpiresAt,
    ConfirmedAt,
}

const STATUSES: [&str; 5] = ["pending", "confirming", "confirmed", "cancelled", "expired"];

/// The statuses that hold stock.
const LIVE: [&str; 3] = ["pending", "confirming", "confirmed"];

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        manager.create_table(table()).await?;
        for index in indexes() {
            manager.create_index(index).await?;
        }
        Ok(())
    }

    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        manager
            .drop_table(Table::drop().table(Orders::Table).clone())
            .await
    }
}

fn table() -> TableCreateStatement {
    Table::create()
        .table(Orders::Table)
        .col(ColumnDef::new(Orders::Id).uuid().not_null().primary_key())
        .col(schema::text(Orders::Reference))
        .col(schema::uuid(Orders::ProductId))
        .col(schema::text(Orders::UserId))
        .col(schema::integer(Orders::Quantity))
        .col(schema::big_integer(Orders::UnitPrice))
        .col(schema::text(Orders::Currency))
        .col(schema::text(Orders::Status))
        .col(schema::text_null(Orders::IdempotencyKey))
        .col(schema::text_null(Orders::IdempotencyRequest))
        .col(schema::timestamp_with_time_zone(Orders::CreatedAt))
        .col(schema::timestamp_with_time_zone_null(Orders::ExpiresAt))
        .col(schema::timestamp_with_time_zone_null(Orders::ConfirmedAt))
        .check((
            "orders_quantity_positive",
            Expr::col(Orders::Quantity).gte(1),
        ))
        .check((
            "orders_status_known",
            Expr::col(Orders::Status).is_in(STATUSES),
        ))
        .foreign_key(
            ForeignKey::create()
                .name("orders_product_id_fkey")
                .from(Orders::Table, Orders::ProductId)
                .to(Products::Table, Products::Id),
        )
        .clone()
}

fn indexes() -> Vec<IndexCreateStatement> {
    let index = |name: &str| Index::create().name(name).table(Orders::Table).clone();
    vec![
        index("orders_reference_key")
            .col(Orders::Reference)
            .unique()
            .clone(),
        index("orders_user_id_idempotency_key_key")
            .col(Orders::UserId)
            .col(Orders::IdempotencyKey)
            .unique()
            .and_where(Expr::col(Orders::IdempotencyKey).is_not_null())
            .clone(),
        index("orders_live_product_id_user_id_idx")
            .col(Orders::ProductId)
            .col(Orders::UserId)
            .and_where(Expr::col(Orders::Status).is_in(LIVE))
            .clone(),
        index("orders_user_id_id_idx")
            .col(Orders::UserId)
            .col(Orders::Id)
            .clone(),
        index("orders_pending_expires_at_idx")
            .col(Orders::ExpiresAt)
            .and_where(Expr::col(Orders::Status).eq("pending"))
            .clone(),
    ]
}
