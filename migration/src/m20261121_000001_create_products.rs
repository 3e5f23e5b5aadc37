//! Creates the table `products`; two checks enforce `0 <= stock <= stock_total`.

use sea_orm_migration::{prelude::*, schema};

#[derive(Debug, DeriveMigrationName)]
pub(crate) struct Migration;

#[derive(Iden)]
pub(crate) enum Products {
    Table,
    Id,
    Sku,
    Name,
    Description,
    Price,
    Currency,
    StockTotal,
    Stock,
    Version,
    MaxPerOrder,
    MaxPerUser,
    HoldSeconds,
    Waitlist,
    StartsAt,
    EndsAt,
    CreatedAt,
    UpdatedAt,
}

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        let mut table = Table::create();
        table.table(Products::Table);
        add_columns(&mut table);
        add_checks(&mut table);
        manager.create_table(table.clone()).await?;
        manager
            .create_index(
                Index::create()
                    .name("products_sku_key")
                    .table(Products::Table)
                    .col(Products::Sku)
                    .unique()
                    .clone(),
            )
            .await
    }

    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        manager
            .drop_table(Table::drop().table(Products::Table).clone())
            .await
    }
}

fn add_columns(table: &mut TableCreateStatement) {
    table
        .col(ColumnDef::new(Products::Id).uuid().not_null().primary_key())
        .col(schema::text(Products::Sku))
        .col(schema::text(Products::Name))
        .col(schema::text_null(Products::Description))
        .col(schema::big_integer(Products::Price))
        .col(schema::text(Products::Currency))
        .col(schema::integer(Products::StockTotal))
        .col(schema::integer(Products::Stock))
        .col(schema::big_integer(Products::Version))
        .col(schema::integer(Products::MaxPerOrder))
        .col(schema::integer_null(Products::MaxPerUser))
        .col(schema::integer_null(Products::HoldSeconds))
        .col(schema::boolean(Products::Waitlist))
        .col(schema::timestamp_with_time_zone_null(Products::StartsAt))
        .col(schema::timestamp_with_time_zone_null(Products::EndsAt))
        .col(schema::timestamp_with_time_zone(Products::CreatedAt))
        .col(schema::timestamp_with_time_zone(Products::UpdatedAt));
}

fn add_checks(table: &mut TableCreateStatement) {
    table
        .check((
            "products_stock_not_negative",
            Expr::col(Products::Stock).gte(0),
        ))
        .check((
            "products_stock_within_total",
            Expr::col(Products::Stock).lte(Expr::col(Products::StockTotal)),
        ))
        .check((
            "products_price_not_negative",
            Expr::col(Products::Price).gte(0),
        ))
        .check((
            "products_max_per_order_positive",
            Expr::col(Products::MaxPerOrder).gte(1),
        ))
        .check((
            "products_max_per_user_positive",
            Expr::col(Products::MaxPerUser).gte(1),
        ))
        .check((
            "products_hold_seconds_positive",
            Expr::col(Products::HoldSeconds).gte(1),
        ))
        .check((
            "products_window_in_order",
            Expr::col(Products::StartsAt).lt(Expr::col(Products::EndsAt)),
        ));
}
