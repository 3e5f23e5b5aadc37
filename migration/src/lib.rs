//! Schema migrations of flash-sale, in order; the same list for PostgreSQL and SQLite.
//!
//! The constraints enforce the invariants: the database refuses writes of a faulty service that
//! would break them. Their names are part of the contract: the store maps violations by name.
#![expect(
    elided_lifetimes_in_paths,
    reason = "the trait of sea-orm-migration elides its lifetimes"
)]

pub use sea_orm_migration::{MigrationTrait, SchemaManager};

mod indexes;
mod m20261121_000001_create_products;
mod m20261121_000002_create_orders;
mod m20261121_000003_create_waitlist_entries;
mod m20261121_000004_add_payments_and_waiting;
mod m20261121_000005_let_the_fence_keep_products;
mod m20261121_000006_add_payment_leases;
mod m20261121_000007_add_payment_api;
mod m20261121_000008_create_audit;
mod m20261121_000009_hide_and_archive_products;
mod m20261121_000010_count_waiting_entries;
mod m20261121_000012_index_orders_by_time;
mod m20261121_000013_keep_shared_secrets;
mod m20261121_000014_index_waiting_sizes;
mod m20261122_000015_key_orders_by_product;
mod m20261122_000016_find_products_that_are_waited_for;

/// A migration; the one who applies it wraps it in a transaction unless it asks for none.
pub type Migration = Box<dyn MigrationTrait>;

/// The last migration of version 0.1.0, which looks for the applied ones in `seaql_migrations` and
/// refuses to start when it finds others there.
pub const SHARED_WITH_0_1: &str = "m20261121_000005_let_the_fence_keep_products";

/// The oldest migration whose version can use the present schema, so that it can run beside this
/// version and be rolled back to. Raise it with a migration that older versions cannot live with,
/// and name it in `docs/UPGRADE.md`.
pub const COMPATIBLE_WITH: &str = SHARED_WITH_0_1;

/// All migrations in order.
///
/// Nodes of older versions sell while a migration runs and after it, so a new one only adds: a
/// column is nullable or has a constant default, a constraint is `NOT VALID`, an index on a large
/// table is built `CONCURRENTLY` in a migration of its own without a transaction, which must be
/// repeatable.
pub fn all() -> Vec<Migration> {
    vec![
        Box::new(m20261121_000001_create_products::Migration),
        Box::new(m20261121_000002_create_orders::Migration),
        Box::new(m20261121_000003_create_waitlist_entries::Migration),
        Box::new(m20261121_000004_add_payments_and_waiting::Migration),
        Box::new(m20261121_000005_let_the_fence_keep_products::Migration),
        Box::new(m20261121_000006_add_payment_leases::Migration),
        Box::new(m20261121_000007_add_payment_api::Migration),
        Box::new(m20261121_000008_create_audit::Migration),
        Box::new(m20261121_000009_hide_and_archive_products::Migration),
        Box::new(m20261121_000010_count_waiting_entries::Migration),
        Box::new(m20261121_000012_index_orders_by_time::Migration),
        Box::new(m20261121_000013_keep_shared_secrets::Migration),
        Box::new(m20261121_000014_index_waiting_sizes::Migration),
        Box::new(m20261122_000015_key_orders_by_product::Migration),
        Box::new(m20261122_000016_find_products_that_are_waited_for::Migration),
    ]
}
