//! The designs to choose from, and the pool of those that do not stand on the service's store.

use std::time::Duration;

use anyhow::Context;
use sea_orm::{ConnectOptions, Database, DatabaseConnection};

use crate::{
    naive::Naive,
    row_lock::RowLock,
    statement::SingleStatement,
    wish::{Answer, Wish},
};

/// Longer than any queue at the hot row: a design is to be slow, not to fail.
const ACQUIRE_TIMEOUT: Duration = Duration::from_secs(10);

#[derive(Debug)]
pub(crate) enum Design {
    Naive(Naive),
    RowLock(RowLock),
    SingleStatement(SingleStatement),
}

impl Design {
    pub(crate) async fn place(&self, wish: Wish) -> anyhow::Result<Answer> {
        match self {
            Self::Naive(design) => design.place(wish).await,
            Self::RowLock(design) => design.place(wish).await,
            Self::SingleStatement(design) => design.place(wish).await,
        }
    }
}

/// A pool as the service's own is: open connections, no ping before a use, no statement log.
pub(crate) async fn connect(url: &str, connections: u32) -> anyhow::Result<DatabaseConnection> {
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
