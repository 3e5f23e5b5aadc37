//! Schema migrations of flash-sale, in order; the same list for PostgreSQL and SQLite.
//!
//! The constraints enforce the invariants: the database refuses writes of a faulty service that
//! would break them. Their names are part of the contract: the store maps violations by name.
#![expect(
    elided_lifetimes_in_paths,
    reason = "the trait of sea-orm-migration elides its lifetimes"
)]

use sea_orm_migration::prelude::*;

pub use sea_orm_migration::MigratorTrait;

mod m20261121_000001_create_products;
mod m20261121_000002_create_orders;
mod m20261121_000003_create_waitlist_entries;
mod m20261121_000004_add_payments_and_waiting;
mod m20261121_000005_let_the_fence_keep_products;
mod m20261121_000008_create_audit;

/// Runs the migrations in order; the caller holds a lock, so that one node at a time runs them.
#[derive(Debug)]
pub struct Migrator;

#[async_trait::async_trait]
impl MigratorTrait for Migrator {
    fn migrations() -> Vec<Box<dyn MigrationTrait>> {
        vec![
            Box::new(m20261121_000001_create_products::Migration),
            Box::new(m20261121_000002_create_orders::Migration),
            Box::new(m20261121_000003_create_waitlist_entries::Migration),
            Box::new(m20261121_000004_add_payments_and_waiting::Migration),
            Box::new(m20261121_000005_let_the_fence_keep_products::Migration),
            Box::new(m20261121_000008_create_audit::Migration),
        ]
    }
}
