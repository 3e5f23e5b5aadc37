//! Database pools of the designs: one like the service's, or the service's own store.

use std::time::Duration;

use anyhow::Context;
use flash_sale::{
    app,
    store::{Connections, Store, Url},
};
use sea_orm::{ConnectOptions, Database, DatabaseConnection};

/// Longer than any queue at the hot row, so that a design is slow instead of failing.
const ACQUIRE_TIMEOUT: Duration = Duration::from_secs(10);

/// Configured like the service's own pool: no ping before a use, no statement log.
pub(super) async fn connect(url: &str, connections: u32) -> anyhow::Result<DatabaseConnection> {
    let mut options = ConnectOptions::new(url);
    options
        .max_connections(connections)
        .min_connections(1)
        .acquire_timeout(ACQUIRE_TIMEOUT)
        .connect_timeout(ACQUIRE_TIMEOUT)
        .test_before_acquire(false)
        .record_stmt_in_spans(false)
        .sqlx_logging(false);
    Database::connect(options)
        .await
        .context("cannot open the database")
}

/// The service's own store.
pub(super) async fn store(url: &str, connections: u32) -> anyhow::Result<Store> {
    let connections = Connections {
        max: connections,
        write_within: app::WRITE_WITHIN,
    };
    Store::connect(&Url::new(url), connections)
        .await
        .context("cannot open the database")
}
