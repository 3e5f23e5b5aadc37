//! Database access: connection pools, transactions, time limits; one file of SQL per table.
//!
//! Writers and readers have separate pools, so that many reads never delay a sale. After a query
//! without an answer, the connections opened before are never used again (`store/trust.rs`).

use std::{future::Future, sync::Arc, time::Duration};

use sea_orm::{
    Database, DatabaseConnection, DbBackend, SqliteTransactionMode, TransactionOptions,
    TransactionTrait, Value,
    sea_query::{ArrayType, ValueType},
};

use crate::{domain::Secret, metrics};

pub use self::{
    error::{Constraint, Error},
    transaction::Transaction,
};

mod audit;
mod clock;
mod connect;
mod error;
mod index_order;
mod invariants;
mod known_keys;
mod migrate;
mod orders;
mod payments;
mod products;
mod secrets;
mod self_committing;
mod sessions;
#[cfg(test)]
mod sqlite_plans;
mod transaction;
mod trust;
mod waitlist_entries;
mod writable;

pub use self::{
    audit::{AuditFilter, log_audit},
    connect::{Connections, Url},
    invariants::Breach,
    migrate::{Applied, SchemaError},
    orders::{
        ExpiredHold, IdempotencyRecord, NewOrder, NewOrders, OrderFilter, OrderPage, Recorded,
        Release, StoredOrder, UserKey,
    },
    payments::{
        BeginPayment, BuyerAction, DECLINES_MAX, ExternalConfirmation, Found, Lease, NewPayment,
        OpenPayment, OpenState, PaymentAttempt, PaymentEnd, StrayPayment, WaitingPayment,
    },
    products::{Archived, Listing, NewProduct, ProductPatch, StockChange},
    sessions::ConnectError,
    waitlist_entries::{NewEntry, Queued},
    writable::Condition,
};

type Result<T> = std::result::Result<T, Error>;

/// Time limit to begin a transaction. The pool finds a free connection or reports that there is
/// none sooner, so only a database that does not answer exceeds it.
const BEGIN_TIMEOUT: Duration = Duration::from_millis(1_500);
/// Time limit of a query outside of a transaction; after it the request fails as `unavailable`.
const QUERY_TIMEOUT: Duration = Duration::from_secs(3);
/// Time limit to close connections, which nothing depends on: both databases end the transactions
/// of a process that has gone.
const CLOSE_TIMEOUT: Duration = Duration::from_millis(500);

/// The database; clones share its pools.
#[derive(Clone, Debug)]
pub struct Store {
    write: DatabaseConnection,
    read: DatabaseConnection,
    payments: payments::Pool,
    trust: Arc<connect::PoolTrust>,
    clock: Arc<clock::Clock>,
    writable: Arc<writable::Writable>,
}

impl Store {
    /// Connects; reads and writes need the schema.
    ///
    /// # Errors
    /// When the database cannot be reached, or a pooler before it shares its sessions.
    pub async fn connect(
        url: &Url,
        connections: Connections,
    ) -> std::result::Result<Self, ConnectError> {
        connect::check_syntax(url)?;
        let trust = Arc::<connect::PoolTrust>::default();
        let options = connect::options(url, connections, &trust);
        let open = |options| async { Database::connect(options).await.map_err(Error::from) };
        let store = Self {
            write: open(options.write).await?,
            read: open(options.read).await?,
            payments: payments::Pool::connect(options.payments).await?,
            trust,
            clock: Arc::new(clock::Clock::new()),
            writable: Arc::default(),
        };
        if store.is_postgres() {
            let pools = [Some(&store.write), Some(&store.read), store.payments.own()];
            sessions::check_pools(pools.into_iter().flatten()).await?;
        }
        store.read_clock().await?;
        Ok(store)
    }

    /// Checks that every connection to this PostgreSQL server keeps a session of its own.
    pub async fn check_sessions(url: &Url) -> std::result::Result<(), ConnectError> {
        connect::check_syntax(url)?;
        sessions::check_server(url).await
    }

    /// Applies the missing migrations; several nodes may call it at once. Changes nothing when none
    /// is missing.
    pub async fn migrate(url: &Url) -> std::result::Result<(), SchemaError> {
        migrate::up(url).await
    }

    /// Checks that no migration is missing and that this version can use the schema; changes
    /// nothing.
    pub async fn check_schema(url: &Url) -> std::result::Result<(), SchemaError> {
        migrate::check(url).await
    }

    /// Counts the migrations that the database has and lacks.
    pub async fn migrations(&self) -> Result<Applied> {
        self.bounded(|| migrate::count(&self.read)).await
    }

    /// Starts a transaction that may write.
    pub async fn begin(&self) -> Result<Transaction> {
        self.begin_on(&self.write, &self.trust.write).await
    }

    async fn begin_on(
        &self,
        pool: &DatabaseConnection,
        trust: &trust::Trust,
    ) -> Result<Transaction> {
        let begin = || {
            pool.begin_with_options(TransactionOptions {
                // A deferred transaction fails instead of waiting when it becomes a writer.
                sqlite_transaction_mode: Some(SqliteTransactionMode::Immediate),
                ..TransactionOptions::default()
            })
        };
        let inner = bounded_with_retry(trust, BEGIN_TIMEOUT, begin).await?;
        Ok(Transaction::begun(inner))
    }

    /// Takes one connection for work of which at most one statement writes. On PostgreSQL each
    /// statement is then a transaction of its own, which saves the round trips of BEGIN and COMMIT;
    /// on SQLite, where those cost none, this is [`Store::begin`].
    pub async fn begin_self_committing(&self) -> Result<Transaction> {
        self.begin_self_committing_on(&self.write, &self.trust.write)
            .await
    }

    async fn begin_self_committing_on(
        &self,
        pool: &DatabaseConnection,
        trust: &Arc<trust::Trust>,
    ) -> Result<Transaction> {
        if !self.is_postgres() {
            return self.begin_on(pool, trust).await;
        }
        let session = self_committing::Session::open(pool.get_postgres_connection_pool(), trust);
        let session = bounded(trust, BEGIN_TIMEOUT, session).await?;
        Ok(Transaction::self_committing(session))
    }

    /// Records that the database did not answer a write: the connections of the writing pool that
    /// were opened until now are not used again.
    pub fn mark_silent(&self) -> Error {
        self.trust.write.revoke();
        Error::Silent
    }

    /// The connections of each pool.
    pub fn pools(&self) -> impl Iterator<Item = metrics::database::Pool> {
        [
            ("write", Some(&self.write)),
            ("read", Some(&self.read)),
            ("payments", self.payments.own()),
        ]
        .into_iter()
        .filter_map(|(name, pool)| Some(connect::pool_size(name, pool?)))
    }

    /// Closes the connections. One in use or a silent server delays this by half a second at most.
    pub async fn close(&self) {
        let pools = [Some(&self.write), Some(&self.read), self.payments.own()];
        close(pools.into_iter().flatten()).await;
    }

    /// Whether it is PostgreSQL rather than SQLite.
    pub fn is_postgres(&self) -> bool {
        self.read.get_database_backend() == DbBackend::Postgres
    }

    /// The name of the database's kind, as OpenTelemetry has it.
    pub fn system(&self) -> &'static str {
        system(self.is_postgres())
    }

    /// Runs a read with a time limit and one retry.
    async fn bounded<T, F>(&self, read: impl Fn() -> F) -> Result<T>
    where
        F: Future<Output = std::result::Result<T, sea_orm::DbErr>>,
    {
        self.noted(bounded_with_retry(&self.trust.read, QUERY_TIMEOUT, read).await)
    }

    /// Runs a query of the writing pool with a time limit.
    async fn bounded_write<T>(
        &self,
        query: impl Future<Output = std::result::Result<T, sea_orm::DbErr>>,
    ) -> Result<T> {
        self.noted(bounded(&self.trust.write, QUERY_TIMEOUT, query).await)
    }
}

/// Runs a repeatable query with a time limit; repeats it once when its connection had broken
/// unnoticed.
async fn bounded_with_retry<T, F>(
    trust: &trust::Trust,
    within: Duration,
    query: impl Fn() -> F,
) -> Result<T>
where
    F: Future<Output = std::result::Result<T, sea_orm::DbErr>>,
{
    match bounded(trust, within, query()).await {
        Err(error) if error.is_broken_connection() => bounded(trust, within, query()).await,
        result => result,
    }
}

/// Runs a query with a time limit. A broken or unresponsive connection revokes the trust in all
/// open connections of the pool, because the same fault has affected them too.
async fn bounded<T>(
    trust: &trust::Trust,
    within: Duration,
    query: impl Future<Output = std::result::Result<T, sea_orm::DbErr>>,
) -> Result<T> {
    let Ok(result) = tokio::time::timeout(within, query).await else {
        trust.revoke();
        return Err(Error::Silent);
    };
    result.map_err(|error| {
        let error = Error::from(error);
        if error.is_broken_connection() {
            trust.revoke();
        }
        error
    })
}

fn system(is_postgres: bool) -> &'static str {
    if is_postgres { "postgresql" } else { "sqlite" }
}

impl Url {
    /// The configured URL, or the embedded database.
    pub fn choose(configured: Option<&Secret>, embedded: &std::path::Path) -> Self {
        match configured {
            Some(url) => Self::new(url.expose()),
            None => Self::new(&format!("sqlite://{}", embedded.display())),
        }
    }
}

/// Repeats the last value until the length is a power of two: one statement text per length would
/// evict the others from the cache of prepared statements.
fn padded<T: Clone>(mut values: Vec<T>) -> Vec<T> {
    if let Some(last) = values.last().cloned() {
        values.resize(values.len().next_power_of_two(), last);
    }
    values
}

/// An array parameter of PostgreSQL.
fn array<T: Into<Value> + ValueType>(values: impl Iterator<Item = T>) -> Value {
    let element: ArrayType = T::array_type();
    Value::Array(element, Some(Box::new(values.map(Into::into).collect())))
}

/// Waits for the pools' connections, one pool after the other, until [`CLOSE_TIMEOUT`].
async fn close(pools: impl Iterator<Item = &DatabaseConnection>) {
    let in_turn = async {
        for pool in pools {
            drop(pool.close_by_ref().await);
        }
    };
    drop(tokio::time::timeout(CLOSE_TIMEOUT, in_turn).await);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_connection_in_use_does_not_keep_the_store_from_closing() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("shop.db");
        let url = Url::new(&format!("sqlite://{}?mode=rwc", path.display()));
        let connections = Connections {
            max: 2,
            write_within: Duration::from_secs(1),
        };
        let store = Store::connect(&url, connections).await.unwrap();
        let in_use = store.begin().await.unwrap();

        let closed = tokio::time::timeout(CLOSE_TIMEOUT * 20, store.close()).await;

        assert!(closed.is_ok());
        drop(in_use);
    }
}
