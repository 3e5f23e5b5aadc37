//! What is true: connections and transactions; one file per table below.
//!
//! Writers and readers have a pool each, so that a storm of reads never keeps a sale waiting.
//! A connection that once fell silent is never used again (`store/trust.rs`).

use std::{future::Future, sync::Arc, time::Duration};

use sea_orm::{
    ConnectionTrait, Database, DatabaseConnection, DatabaseTransaction, DbBackend,
    SqliteTransactionMode, TransactionOptions, TransactionTrait, Value,
    sea_query::{ArrayType, ValueType},
};

use crate::domain::Secret;

pub use self::error::{Constraint, Error};

mod clock;
mod connect;
mod error;
mod invariants;
mod migrate;
mod orders;
mod payments;
mod products;
mod trust;
mod waitlist_entries;

pub use self::{
    connect::Url,
    invariants::Breach,
    orders::{
        ExpiredHold, IdempotencyRecord, NewOrder, NewOrders, OrderFilter, Recorded, Release,
        StoredOrder, UserKey,
    },
    payments::{BeginPayment, PaymentAttempt, PaymentEnd},
    products::{NewProduct, ProductPatch, StockChange},
    waitlist_entries::{NewEntry, Queued},
};

type Result<T> = std::result::Result<T, Error>;

/// A transaction begins within this time: a free connection is found sooner, or the pool says
/// that there is none, so what is still waiting then waits for a silent database.
const BEGIN_TIMEOUT: Duration = Duration::from_millis(1_500);
/// A query outside of a transaction that takes longer is answered with `unavailable`.
const QUERY_TIMEOUT: Duration = Duration::from_secs(3);
/// A health check that takes longer found a database that cannot take orders.
const PING_TIMEOUT: Duration = Duration::from_secs(1);

/// The database; clones share its pools.
#[derive(Clone, Debug)]
pub struct Store {
    write: DatabaseConnection,
    read: DatabaseConnection,
    write_trust: Arc<trust::Trust>,
    read_trust: Arc<trust::Trust>,
    clock: Arc<clock::Clock>,
}

impl Store {
    /// Connects to an existing schema.
    ///
    /// # Errors
    /// When the database cannot be reached.
    pub async fn connect(url: &Url, connections: u32) -> Result<Self> {
        connect::check_readable(url)?;
        let write_trust = Arc::<trust::Trust>::default();
        let read_trust = Arc::<trust::Trust>::default();
        let trust = (&write_trust, &read_trust);
        let (write, read) = connect::options(url, connections, trust);
        let store = Self {
            write: Database::connect(write).await?,
            read: Database::connect(read).await?,
            write_trust,
            read_trust,
            clock: Arc::new(clock::Clock::new()),
        };
        store.read_clock().await?;
        Ok(store)
    }

    /// Brings the schema up to date; safe to call from several nodes at once.
    pub async fn migrate(url: &Url) -> Result<()> {
        migrate::up(url).await
    }

    /// Starts a transaction that may write.
    pub async fn begin(&self) -> Result<Transaction> {
        let begin = || {
            self.write.begin_with_options(TransactionOptions {
                // A deferred one would fail, not wait, when it turns into a writer.
                sqlite_transaction_mode: Some(SqliteTransactionMode::Immediate),
                ..TransactionOptions::default()
            })
        };
        let inner = bounded_twice(&self.write_trust, BEGIN_TIMEOUT, begin).await?;
        Ok(Transaction { inner })
    }

    /// Says whether the database would take an order: by the connections that orders use, so
    /// that a storm of reads does not make a node look ill.
    pub async fn ping(&self) -> Result<()> {
        match tokio::time::timeout(PING_TIMEOUT, self.write.ping()).await {
            Ok(answer) => Ok(answer?),
            Err(_) => Err(Error::Silent),
        }
    }

    /// Notes that the database fell silent in a write: connections for writing that were opened
    /// until now are not used again.
    pub fn silent(&self) -> Error {
        self.write_trust.lose();
        Error::Silent
    }

    /// Idle and used connections of both pools.
    pub fn connections(&self) -> (u32, u32) {
        [&self.write, &self.read]
            .map(connect::pool_size)
            .into_iter()
            .fold((0, 0), |(idle, used), (i, u)| (idle + i, used + u))
    }

    pub async fn close(&self) {
        drop(self.write.close_by_ref().await);
        drop(self.read.close_by_ref().await);
    }

    fn is_postgres(&self) -> bool {
        self.read.get_database_backend() == DbBackend::Postgres
    }

    /// Gives a read its bound.
    async fn bounded<T, F>(&self, read: impl Fn() -> F) -> Result<T>
    where
        F: Future<Output = std::result::Result<T, sea_orm::DbErr>>,
    {
        bounded_twice(&self.read_trust, QUERY_TIMEOUT, read).await
    }

    /// Gives a query on the connections for writing its bound.
    async fn bounded_write<T>(
        &self,
        query: impl Future<Output = std::result::Result<T, sea_orm::DbErr>>,
    ) -> Result<T> {
        bounded(&self.write_trust, QUERY_TIMEOUT, query).await
    }
}

/// For what may be asked twice: it is, where its connection had broken unnoticed.
async fn bounded_twice<T, F>(
    trust: &trust::Trust,
    within: Duration,
    query: impl Fn() -> F,
) -> Result<T>
where
    F: Future<Output = std::result::Result<T, sea_orm::DbErr>>,
{
    match bounded(trust, within, query()).await {
        Err(error) if error.is_broken_connection() => bounded(trust, within, query()).await,
        answer => answer,
    }
}

/// Whatever broke or silenced one connection has met the others too.
async fn bounded<T>(
    trust: &trust::Trust,
    within: Duration,
    query: impl Future<Output = std::result::Result<T, sea_orm::DbErr>>,
) -> Result<T> {
    let Ok(answer) = tokio::time::timeout(within, query).await else {
        trust.lose();
        return Err(Error::Silent);
    };
    answer.map_err(|error| {
        let error = Error::from(error);
        if error.is_broken_connection() {
            trust.lose();
        }
        error
    })
}

/// A transaction; dropped, it rolls back. Its statements are in the files of their tables.
#[derive(Debug)]
pub struct Transaction {
    inner: DatabaseTransaction,
}

impl Transaction {
    /// Makes it durable.
    ///
    /// # Errors
    /// [`Error::CommitUnknown`] when the connection broke before the answer came; any other
    /// error means that nothing was written.
    pub async fn commit(self) -> Result<()> {
        self.inner
            .commit()
            .await
            .map_err(|error| match Error::from(error) {
                Error::Unreachable(source) => Error::CommitUnknown(Some(source)),
                other @ (Error::Silent
                | Error::CommitUnknown(_)
                | Error::Violates(_)
                | Error::Refused(_)) => other,
            })
    }

    fn is_postgres(&self) -> bool {
        self.inner.get_database_backend() == DbBackend::Postgres
    }
}

impl Url {
    /// The URL that was asked for, or the embedded database.
    pub fn choose(asked: Option<&Secret>, embedded: &std::path::Path) -> Self {
        match asked {
            Some(url) => Self::new(url.expose()),
            None => Self::new(&format!("sqlite://{}", embedded.display())),
        }
    }
}

/// Repeats the last value until the number is a power of two: a statement text per size would
/// push the others out of the cache of prepared statements.
fn padded<T: Clone>(mut values: Vec<T>) -> Vec<T> {
    if let Some(last) = values.last().cloned() {
        values.resize(values.len().next_power_of_two(), last);
    }
    values
}

/// An array of PostgreSQL.
fn array<T: Into<Value> + ValueType>(values: impl Iterator<Item = T>) -> Value {
    let element: ArrayType = T::array_type();
    Value::Array(element, Some(Box::new(values.map(Into::into).collect())))
}
