//! Lets products be hidden and archived. The sku of an archived product may be used again.

use sea_orm_migration::{prelude::*, schema};

use crate::m20261121_000001_create_products::Products;

#[derive(Debug, DeriveMigrationName)]
pub(crate) struct Migration;

#[derive(Iden)]
enum Added {
    Published,
    ArchivedAt,
}

/// The index of the first migration, whose name callers are told the violation by.
const SKU_KEY: &str = "products_sku_key";

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        let published = ColumnDef::new(Added::Published)
            .boolean()
            .not_null()
            .default(true)
            .take();
        let archived_at = schema::timestamp_with_time_zone_null(Added::ArchivedAt);
        for column in [published, archived_at] {
            let mut table = Table::alter();
            table.table(Products::Table).add_column(column);
            manager.alter_table(table).await?;
        }
        let in_use = Expr::col(Added::ArchivedAt).is_null();
        let key = sku_key().and_where(in_use).take();
        replace_sku_key(manager, key).await
    }

    /// Fails while an archived product has the sku of another one.
    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        replace_sku_key(manager, sku_key()).await?;
        for column in [Added::Published, Added::ArchivedAt] {
            let mut table = Table::alter();
            table.table(Products::Table).drop_column(column);
            manager.alter_table(table).await?;
        }
        Ok(())
    }
}

fn sku_key() -> IndexCreateStatement {
    let mut key = Index::create();
    key.name(SKU_KEY).table(Products::Table).col(Products::Sku);
    key.unique().take()
}

async fn replace_sku_key(
    manager: &SchemaManager<'_>,
    key: IndexCreateStatement,
) -> Result<(), DbErr> {
    let mut old = Index::drop();
    old.name(SKU_KEY).table(Products::Table);
    manager.drop_index(old).await?;
    manager.create_index(key).await
}
