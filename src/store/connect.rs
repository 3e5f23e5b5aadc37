//! How the pools are opened, on PostgreSQL and on SQLite.

use std::{str::FromStr, sync::Arc, time::Duration};

use futures::FutureExt;
use sea_orm::{
    ConnectOptions, DatabaseConnection, DbBackend,
    sqlx::{self, Connection as _, sqlite},
};

use super::{Error, Result, trust::Trust};

/// A free connection is there within this time, or the database counts as unreachable.
const ACQUIRE_TIMEOUT: Duration = Duration::from_secs(1);
/// A connection that comes back to its pool answers within this time, or is closed.
const RETURN_TIMEOUT: Duration = Duration::from_millis(500);
/// PostgreSQL ends a statement that runs longer; none of ours should.
const STATEMENT_TIMEOUT_MS: &str = "2000";
/// How long a write waits for the row that another node is writing.
const LOCK_TIMEOUT_MS: &str = "1500";
/// PostgreSQL ends a transaction whose node was cut off or paused, so that others may sell.
const IDLE_IN_TRANSACTION_TIMEOUT_MS: &str = "1000";
/// How long SQLite waits for another process's write.
const BUSY_TIMEOUT: Duration = Duration::from_millis(1_500);

/// Where the database is.
#[derive(Clone, PartialEq, Eq)]
pub struct Url(String);

impl std::fmt::Debug for Url {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(if self.is_sqlite() {
            "sqlite://…"
        } else {
            "postgres://…"
        })
    }
}

impl Url {
    pub fn new(url: &str) -> Self {
        Self(url.to_owned())
    }

    pub fn is_sqlite(&self) -> bool {
        self.0.starts_with("sqlite:")
    }

    /// The file of a SQLite database.
    pub fn path(&self) -> Option<&str> {
        let path = self.0.strip_prefix("sqlite:")?;
        let path = path.strip_prefix("//").unwrap_or(path);
        path.split('?').next()
    }

    pub(super) fn text(&self) -> &str {
        &self.0
    }
}

/// The options of the writing and of the reading pool.
pub(super) fn options(
    url: &Url,
    connections: u32,
    (write, read): (&Arc<Trust>, &Arc<Trust>),
) -> (ConnectOptions, ConnectOptions) {
    let half = (connections / 2).max(1);
    if url.is_sqlite() {
        (
            sqlite(url, 1, Access::Write),
            sqlite(url, connections.saturating_sub(1).max(1), Access::Read),
        )
    } else {
        (
            postgres(url, half, Access::Write, write),
            postgres(
                url,
                connections.saturating_sub(half).max(1),
                Access::Read,
                read,
            ),
        )
    }
}

fn common(url: &Url, connections: u32) -> ConnectOptions {
    let mut options = ConnectOptions::new(url.text());
    options
        .max_connections(connections)
        .min_connections(1)
        .acquire_timeout(ACQUIRE_TIMEOUT)
        .connect_timeout(ACQUIRE_TIMEOUT)
        .test_before_acquire(false)
        .record_stmt_in_spans(false)
        .sqlx_logging(false);
    options
}

fn postgres(url: &Url, connections: u32, access: Access, trust: &Arc<Trust>) -> ConnectOptions {
    // A lane's questions are all answered by indexes. A plan that was made while a table was small
    // may read the whole of it, and is kept while the table grows by thousands of rows a second.
    let seqscan = match access {
        Access::Write => "off",
        Access::Read => "on",
    };
    let mut options = common(url, connections);
    options.set_application_name("flash-sale");
    options.map_sqlx_postgres_opts(move |options| {
        options.options([
            ("enable_seqscan", seqscan),
            ("statement_timeout", STATEMENT_TIMEOUT_MS),
            ("lock_timeout", LOCK_TIMEOUT_MS),
            (
                "idle_in_transaction_session_timeout",
                IDLE_IN_TRANSACTION_TIMEOUT_MS,
            ),
        ])
    });
    // sqlx pings a connection that comes back, without a limit, and keeps its place meanwhile:
    // without this a pool whose connections fell silent in use would never get them back.
    options.map_sqlx_postgres_pool_opts(|pool| {
        pool.after_release(|connection, _| {
            async move {
                match tokio::time::timeout(RETURN_TIMEOUT, connection.ping()).await {
                    Ok(answer) => answer.map(|()| true),
                    Err(_) => Err(sqlx::Error::PoolClosed),
                }
            }
            .boxed()
        })
    });
    let trust = Arc::clone(trust);
    options.map_sqlx_postgres_before_acquire(move |_, connection| {
        let trusted = trust.has(connection.age);
        async move {
            if trusted {
                Ok(true)
            } else {
                // An error closes it at once; `false` would first say goodbye to the silence.
                Err(sqlx::Error::PoolClosed)
            }
        }
        .boxed()
    });
    options
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Access {
    Read,
    Write,
}

fn sqlite(url: &Url, connections: u32, access: Access) -> ConnectOptions {
    let mut options = common(url, connections);
    options.map_sqlx_sqlite_opts(move |options| {
        options
            .read_only(access == Access::Read)
            .journal_mode(sqlite::SqliteJournalMode::Wal)
            .synchronous(sqlite::SqliteSynchronous::Full)
            .foreign_keys(true)
            .busy_timeout(BUSY_TIMEOUT)
    });
    options
}

/// Idle and used connections.
pub(super) fn pool_size(connection: &DatabaseConnection) -> (u32, u32) {
    let (size, idle) = if connection.get_database_backend() == DbBackend::Sqlite {
        let pool = connection.get_sqlite_connection_pool();
        (pool.size(), pool.num_idle())
    } else {
        let pool = connection.get_postgres_connection_pool();
        (pool.size(), pool.num_idle())
    };
    let idle = u32::try_from(idle).unwrap_or(u32::MAX);
    (idle, size.saturating_sub(idle))
}

/// # Errors
/// When sqlx cannot read the URL. Never says why, for the reason may quote a password.
pub(super) fn check_readable(url: &Url) -> Result<()> {
    let readable = if url.is_sqlite() {
        sqlite::SqliteConnectOptions::from_str(url.text()).is_ok()
    } else {
        sqlx::postgres::PgConnectOptions::from_str(url.text()).is_ok()
    };
    if readable {
        return Ok(());
    }
    Err(Error::Unreachable(sea_orm::DbErr::Custom(
        "the URL cannot be read".to_owned(),
    )))
}
