//! Applies migrations, each in one transaction with its row of the history: a node that is killed
//! meanwhile leaves nothing of it.
//!
//! On PostgreSQL every statement of the service queues behind a migration that waits for its
//! table. So a migration waits shorter than an order does, lets go, and tries again later.

use std::time::{Duration, Instant};

use migration::{Migration, SchemaManager};
use sea_orm::{
    ConnectionTrait, DatabaseConnection, DbBackend, DbErr, SqliteTransactionMode,
    TransactionOptions, TransactionTrait,
};

use super::{
    SchemaError,
    history::{self, History},
};
use crate::{domain::jitter, store::Error};

/// How long a migration tries to get its tables.
pub(super) const GIVE_UP: Duration = Duration::from_mins(5);
/// Time for the statements that queued behind the last try.
const PAUSE: Duration = Duration::from_secs(1);
/// For each lock of a migration; shorter than the `lock_timeout` of orders.
const LOCK_TIMEOUT: &str = "SET LOCAL lock_timeout = '500ms'; SET LOCAL statement_timeout = 0";
/// A migration without a transaction (`CREATE INDEX CONCURRENTLY`) blocks no statement while it
/// waits.
const PATIENT_LOCK_TIMEOUT: &str = "SET lock_timeout = '60s'; SET statement_timeout = 0";

/// SQLSTATE codes of a lock that was not free in time, and of a deadlock.
const BUSY: [&str; 2] = ["55P03", "40P01"];

/// Applies the migrations that are missing now.
pub(super) async fn all(connection: &DatabaseConnection) -> Result<(), SchemaError> {
    history::create_tables(connection).await?;
    let history = History::read(connection).await?;
    let missing = history.missing()?;
    for migration in &missing {
        with_retries(connection, migration).await?;
        if !history.is_empty() {
            tracing::info!(migration = migration.name(), "migrated the schema");
        }
    }
    if history.is_empty() {
        tracing::info!(migrations = missing.len(), "created the schema");
    }
    Ok(())
}

async fn with_retries(
    connection: &DatabaseConnection,
    migration: &Migration,
) -> Result<(), SchemaError> {
    let deadline = Instant::now() + GIVE_UP;
    let name = migration.name();
    loop {
        match once(connection, migration).await {
            Ok(()) => return Ok(()),
            Err(error) if !is_busy(&error) => {
                let (name, source) = (name.to_owned(), Error::from(error));
                return Err(SchemaError::Failed { name, source });
            }
            Err(_) if Instant::now() > deadline => {
                let name = name.to_owned();
                return Err(SchemaError::Busy { name });
            }
            Err(_) => {
                tracing::warn!("a transaction keeps a table of {name} busy: trying again");
                tokio::time::sleep(jitter(PAUSE)).await;
            }
        }
    }
}

async fn once(connection: &DatabaseConnection, migration: &Migration) -> Result<(), DbErr> {
    let is_postgres = connection.get_database_backend() == DbBackend::Postgres;
    if is_postgres && migration.use_transaction() == Some(false) {
        connection.execute_unprepared(PATIENT_LOCK_TIMEOUT).await?;
        migration.up(&SchemaManager::new(connection)).await?;
        return history::record(connection, migration.name()).await;
    }
    let options = TransactionOptions {
        sqlite_transaction_mode: Some(SqliteTransactionMode::Immediate),
        ..TransactionOptions::default()
    };
    let transaction = connection.begin_with_options(options).await?;
    if is_postgres {
        transaction.execute_unprepared(LOCK_TIMEOUT).await?;
    }
    migration.up(&SchemaManager::new(&transaction)).await?;
    history::record(&transaction, migration.name()).await?;
    transaction.commit().await
}

fn is_busy(error: &DbErr) -> bool {
    let (DbErr::Exec(cause) | DbErr::Query(cause)) = error else {
        return false;
    };
    let sea_orm::RuntimeErr::SqlxError(cause) = cause else {
        return false;
    };
    let Some(refusal) = cause.as_database_error() else {
        return false;
    };
    refusal.code().is_some_and(|code| BUSY.contains(&&*code))
}
