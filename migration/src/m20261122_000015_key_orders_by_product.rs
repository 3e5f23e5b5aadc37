//! An idempotency key belongs to a user and a product, so that every unique key of the orders and
//! entries names the product, by which an engine can distribute them.
//!
//! Nodes of older versions look a user's keys up for all products. Of orders they find them by
//! `orders_user_id_id_idx`; of entries they need `waitlist_entries_user_id_idempotency_key_idx`,
//! which a later version may drop.

use sea_orm_migration::prelude::*;

use crate::indexes::{Index, build_index, drop_index};

#[derive(Debug, DeriveMigrationName)]
pub(crate) struct Migration;

const PER_USER: [(&str, &str); 2] = [
    ("orders", "orders_user_id_idempotency_key_key"),
    (
        "waitlist_entries",
        "waitlist_entries_user_id_idempotency_key_key",
    ),
];
const PER_PRODUCT: [(&str, &str); 2] = [
    ("orders", "orders_product_id_user_id_idempotency_key_key"),
    (
        "waitlist_entries",
        "waitlist_entries_product_id_user_id_idempotency_key_key",
    ),
];
const FOR_OLDER_VERSIONS: &str = "waitlist_entries_user_id_idempotency_key_idx";

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    /// Orders are written while the indexes are built.
    fn use_transaction(&self) -> Option<bool> {
        Some(false)
    }

    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        for (table, name) in PER_PRODUCT {
            let columns = "product_id, user_id, idempotency_key";
            create(manager, "UNIQUE INDEX", name, (table, columns)).await?;
        }
        let columns = ("waitlist_entries", "user_id, idempotency_key");
        create(manager, "INDEX", FOR_OLDER_VERSIONS, columns).await?;
        for (_, name) in PER_USER {
            drop_index(manager, name).await?;
        }
        Ok(())
    }

    /// Fails where a user has used a key for two products.
    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        for (table, name) in PER_USER {
            let columns = "user_id, idempotency_key";
            create(manager, "UNIQUE INDEX", name, (table, columns)).await?;
        }
        drop_index(manager, FOR_OLDER_VERSIONS).await?;
        for (_, name) in PER_PRODUCT {
            drop_index(manager, name).await?;
        }
        Ok(())
    }
}

async fn create(
    manager: &SchemaManager<'_>,
    kind: &str,
    name: &str,
    (table, columns): (&str, &str),
) -> Result<(), DbErr> {
    let definition = format!("({columns}) WHERE idempotency_key IS NOT NULL");
    let definition = &definition;
    build_index(
        manager,
        &Index {
            kind,
            name,
            table,
            definition,
        },
    )
    .await
}
