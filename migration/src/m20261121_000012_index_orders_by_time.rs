//! Indexes for the lists of admins: orders by time, and the orders of the rare statuses by time.
//!
//! On PostgreSQL they are built beside the sales, without a transaction: a build that was interrupted
//! leaves an invalid index, so each one begins by removing what is there.

use sea_orm_migration::prelude::*;

use crate::indexes::{concurrently, drop_index};

#[derive(Debug, DeriveMigrationName)]
pub(crate) struct Migration;

/// Name and condition. New orders have none of these statuses, so that only the first index costs
/// the sale something; its entries are in the order in which the rows are inserted.
const INDEXES: [(&str, &str); 4] = [
    ("orders_created_at_idx", ""),
    (
        "orders_confirming_created_at_idx",
        "WHERE status = 'confirming'",
    ),
    (
        "orders_cancelled_created_at_idx",
        "WHERE status = 'cancelled'",
    ),
    ("orders_expired_created_at_idx", "WHERE status = 'expired'"),
];

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    fn use_transaction(&self) -> Option<bool> {
        Some(false)
    }

    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        let beside_sales = concurrently(manager);
        for (name, condition) in INDEXES {
            drop_index(manager, name).await?;
            let sql =
                format!("CREATE INDEX {beside_sales} {name} ON orders (created_at) {condition}");
            manager.get_connection().execute_unprepared(&sql).await?;
        }
        Ok(())
    }

    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        for (name, _) in INDEXES {
            drop_index(manager, name).await?;
        }
        Ok(())
    }
}
