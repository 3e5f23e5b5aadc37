//! An index of the largest counted blocks, one for each product that has had a waitlist: a node that
//! looks for entries to serve reads those products, not all.

use sea_orm_migration::prelude::*;

use crate::indexes::{Index, build_index, drop_index};

#[derive(Debug, DeriveMigrationName)]
pub(crate) struct Migration;

const INDEX: Index<'_> = Index {
    kind: "INDEX",
    name: "waitlist_counts_product_idx",
    table: "waitlist_counts",
    definition: "(product_id) WHERE level = 3",
};

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    /// Entries are written while the index is built.
    fn use_transaction(&self) -> Option<bool> {
        Some(false)
    }

    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        build_index(manager, &INDEX).await
    }

    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        drop_index(manager, INDEX.name).await
    }
}
