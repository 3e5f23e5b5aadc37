//! Connection pool options for PostgreSQL and SQLite: sizes, time-outs, connection checks.

use std::{path::PathBuf, str::FromStr, sync::Arc, time::Duration};

use futures::FutureExt;
use sea_orm::{
    ConnectOptions, DatabaseConnection, DbBackend,
    sqlx::{self, Connection as _, sqlite},
};

use super::{Error, Result, sessions, trust::Trust};
use crate::metrics;

/// Time limit to get a free connection; after it the database counts as unreachable.
const ACQUIRE_TIMEOUT: Duration = Duration::from_secs(1);
/// Time limit of the ping of a connection that returns to its pool, or leaves it after it was idle;
/// after it the pool closes it.
const PING_TIMEOUT: Duration = Duration::from_millis(500);
/// A connection that was idle for longer is pinged before it is used: its server may have closed it
/// unnoticed, and a write that is sent on it, as the first statement, leaves its outcome unknown
/// although nothing was written. The connections of a lane that sells are idle for less: the pool
/// hands them out in turn, and a batch takes a few milliseconds.
const IDLE_MAX: Duration = Duration::from_millis(250);
/// PostgreSQL cancels statements that run longer; all statements of the service should be faster.
const STATEMENT_TIMEOUT_MAX: Duration = Duration::from_secs(2);
/// How long a statement waits for a row at most; below every time limit of a caller, who would take
/// the database for silent.
const LOCK_TIMEOUT_MAX: Duration = Duration::from_millis(750);
/// The shares of the time to write a batch that a statement of the writing pool may take, and wait
/// for a row: a locked row is refused while there is time to say so, even if a second one follows.
const STATEMENT_SHARE: f64 = 0.8;
const LOCK_SHARE: f64 = 0.4;
/// PostgreSQL ends the transaction of a node that was cut off or paused, so that other nodes can
/// sell.
const IDLE_IN_TRANSACTION_TIMEOUT_MS: &str = "1000";
/// How long SQLite waits for another process's write.
const BUSY_TIMEOUT: Duration = Duration::from_millis(1_500);

/// How a store connects.
#[derive(Clone, Copy, Debug)]
pub struct Connections {
    /// Of all pools together.
    pub max: u32,
    /// The time that a batch has to write.
    pub write_within: Duration,
}

impl Connections {
    fn statement_timeout(self, access: Access) -> Duration {
        match access {
            Access::Read => STATEMENT_TIMEOUT_MAX,
            Access::Write => self
                .write_within
                .mul_f64(STATEMENT_SHARE)
                .min(STATEMENT_TIMEOUT_MAX),
        }
    }

    fn lock_timeout(self) -> Duration {
        self.write_within.mul_f64(LOCK_SHARE).min(LOCK_TIMEOUT_MAX)
    }
}

/// In the milliseconds of PostgreSQL's settings, of which 0 would mean no limit.
fn setting(limit: Duration) -> String {
    limit.as_millis().max(1).to_string()
}

/// A database URL, of PostgreSQL or SQLite; its `Debug` output omits the password.
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

    /// Whether it names a SQLite file that does not exist.
    pub fn is_missing_file(&self) -> bool {
        self.file().is_some_and(|file| !file.exists())
    }

    /// The file of a SQLite database as sqlx reads it from the URL; `None` for PostgreSQL, an
    /// invalid URL and a database in memory.
    pub(super) fn file(&self) -> Option<PathBuf> {
        if !self.is_sqlite() || self.0.contains(":memory:") || self.0.contains("mode=memory") {
            return None;
        }
        let options = sqlite::SqliteConnectOptions::from_str(&self.0).ok()?;
        Some(options.get_filename().to_owned())
    }

    pub(super) fn text(&self) -> &str {
        &self.0
    }
}

/// The trust in the connections of each pool.
#[derive(Debug, Default)]
pub(super) struct PoolTrust {
    pub(super) write: Arc<Trust>,
    pub(super) read: Arc<Trust>,
    pub(super) payments: Arc<Trust>,
}

/// The options of the pools.
pub(super) struct Options {
    pub(super) write: ConnectOptions,
    pub(super) read: ConnectOptions,
    /// `None` where payments share the writing pool.
    pub(super) payments: Option<ConnectOptions>,
}

/// Half of the connections write orders. A fifth is for payments, which wait for rows that are
/// locked while the gateway is called elsewhere, and must never keep an order waiting.
pub(super) fn options(url: &Url, connections: Connections, trust: &PoolTrust) -> Options {
    let Connections { max, .. } = connections;
    if url.is_sqlite() {
        return Options {
            write: sqlite(url, 1, Access::Write),
            read: sqlite(url, max.saturating_sub(1).max(1), Access::Read),
            payments: None,
        };
    }
    let pool = |size: u32, access, trust| {
        let max = size.max(1);
        postgres(url, Connections { max, ..connections }, access, trust)
    };
    let (half, fifth) = ((max / 2).max(1), (max / 5).max(1));
    Options {
        write: pool(half, Access::Write, &trust.write),
        read: pool(max.saturating_sub(half + fifth), Access::Read, &trust.read),
        // Two connections are one for each of the other pools.
        payments: (max > 2).then(|| pool(fifth, Access::Write, &trust.payments)),
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

fn postgres(
    url: &Url,
    connections: Connections,
    access: Access,
    trust: &Arc<Trust>,
) -> ConnectOptions {
    // All queries of a lane have an index. A plan made while a table was small may scan the whole
    // table, and stays cached while the table grows by thousands of rows a second.
    let seqscan = match access {
        Access::Write => "off",
        Access::Read => "on",
    };
    let statement_timeout = setting(connections.statement_timeout(access));
    let lock_timeout = setting(connections.lock_timeout());
    let settings = sessions::settings(&[
        ("enable_seqscan", seqscan),
        // A plan that has no other way than a forbidden one counts as costly, and PostgreSQL would
        // compile it for a second before it reads four rows.
        ("jit", "off"),
        ("statement_timeout", &statement_timeout),
        ("lock_timeout", &lock_timeout),
        (
            "idle_in_transaction_session_timeout",
            IDLE_IN_TRANSACTION_TIMEOUT_MS,
        ),
    ]);
    let mut options = common(url, connections.max);
    options.set_application_name("flash-sale");
    options.map_sqlx_postgres_opts(sessions::without_unknown_parameters);
    // sqlx pings a returned connection without a time limit, and the connection occupies its slot
    // meanwhile: without this limit, a pool with unresponsive connections would never recover.
    options.map_sqlx_postgres_pool_opts(move |pool| {
        let settings = Arc::clone(&settings);
        pool.after_connect(move |connection, _| {
            sessions::set_up(connection, Arc::clone(&settings)).boxed()
        })
        .after_release(|connection, _| async move { ping(connection).await.map(|()| true) }.boxed())
    });
    let trust = Arc::clone(trust);
    options.map_sqlx_postgres_before_acquire(move |connection, known| {
        let trust = Arc::clone(&trust);
        async move {
            if !trust.covers(known.age) {
                // An error closes it at once; `false` would first send a Terminate message to a
                // server that does not answer.
                return Err(sqlx::Error::PoolClosed);
            }
            if known.idle_for > IDLE_MAX {
                let answered = ping(connection).await;
                // A closed one fails at once, and the pool tries the next. Silent ones would each
                // take the time limit.
                if matches!(answered, Err(sqlx::Error::PoolClosed)) {
                    trust.revoke();
                }
                answered?;
            }
            Ok(true)
        }
        .boxed()
    });
    options
}

/// Whether the server answers on this connection; an error closes it, `PoolClosed` after a silence.
async fn ping(connection: &mut sqlx::PgConnection) -> sqlx::Result<()> {
    let answered = tokio::time::timeout(PING_TIMEOUT, connection.ping()).await;
    answered.unwrap_or(Err(sqlx::Error::PoolClosed))
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

/// The connections of this pool.
pub(super) fn pool_size(name: &'static str, pool: &DatabaseConnection) -> metrics::database::Pool {
    let (size, idle, max) = if pool.get_database_backend() == DbBackend::Sqlite {
        sizes(pool.get_sqlite_connection_pool())
    } else {
        sizes(pool.get_postgres_connection_pool())
    };
    let idle = u32::try_from(idle).unwrap_or(u32::MAX);
    metrics::database::Pool {
        name,
        idle,
        used: size.saturating_sub(idle),
        max,
    }
}

/// Open, idle and permitted connections.
fn sizes<D: sqlx::Database>(pool: &sqlx::Pool<D>) -> (u32, usize, u32) {
    let max = pool.options().get_max_connections();
    (pool.size(), pool.num_idle(), max)
}

/// # Errors
/// When sqlx cannot parse the URL. The error omits the reason, which may quote a password.
pub(super) fn check_syntax(url: &Url) -> Result<()> {
    let parses = if url.is_sqlite() {
        sqlite::SqliteConnectOptions::from_str(url.text()).is_ok()
    } else {
        sqlx::postgres::PgConnectOptions::from_str(url.text()).is_ok()
    };
    if parses {
        return Ok(());
    }
    Err(Error::Unreachable(sea_orm::DbErr::Custom(
        "the URL cannot be parsed".to_owned(),
    )))
}
