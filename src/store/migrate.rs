//! Schema migration, one node at a time: an advisory lock (PostgreSQL) or a file lock (SQLite).
//!
//! Each migration is one transaction on both databases (`migrate/apply.rs`). A schema that a newer
//! version has migrated is used if its migrations say that this is possible (`migrate/history.rs`).

use std::{
    fs::File,
    iter,
    os::unix::fs::OpenOptionsExt,
    path::Path,
    time::{Duration, Instant},
};

use sea_orm::{ConnectOptions, ConnectionTrait, Database, DatabaseConnection, DbErr, Statement};

use super::{connect, connect::Url, sessions};
use crate::domain::jitter;

use self::history::History;

mod apply;
mod history;

/// Any number that no other program uses for its advisory lock.
const ADVISORY_LOCK: i64 = 0x666c_6173_6873_616c;

/// A running database answers sooner; an unreachable one should be reported soon.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// How long another node may take for its migrations.
const TURN_TIMEOUT: Duration = Duration::from_mins(10);
const TURN_POLL: Duration = Duration::from_millis(200);

/// Why the schema cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum SchemaError {
    #[error(transparent)]
    Database(#[from] super::Error),
    #[error("cannot open the database's folder")]
    Folder(#[source] std::io::Error),
    #[error(
        "the migration {0} of a newer version does not say that this version can use its schema: \
         run the newer version"
    )]
    TooNew(String),
    #[error("{0} migrations are missing, first {1}: run `flash-sale migrate`")]
    Missing(usize, String),
    #[error("another node has been migrating for {} s", TURN_TIMEOUT.as_secs())]
    NoTurn,
    #[error("the migration {name} failed")]
    Failed {
        name: String,
        #[source]
        source: super::Error,
    },
    #[error(
        "the migration {name} did not get its table, which transactions have kept busy for {} s: \
         look for the oldest one in pg_stat_activity",
        apply::GIVE_UP.as_secs()
    )]
    Busy { name: String },
}

impl From<DbErr> for SchemaError {
    fn from(error: DbErr) -> Self {
        Self::Database(error.into())
    }
}

/// Applies the missing migrations. When there are none it changes nothing, so that a role that may
/// only read and write rows can call it.
pub(super) async fn up(url: &Url) -> Result<(), SchemaError> {
    connect::check_syntax(url)?;
    let file_lock = lock_file(url).await?;
    let connection = open(url).await?;
    let migrated = migrate(&connection, url).await;
    super::close(iter::once(&connection)).await;
    drop(file_lock);
    migrated
}

/// Checks that no migration is missing and that this version can use the schema; changes nothing.
pub(super) async fn check(url: &Url) -> Result<(), SchemaError> {
    connect::check_syntax(url)?;
    let missing = if url.is_missing_file() {
        History::default().missing()?
    } else {
        let connection = open(url).await?;
        let history = History::read(&connection).await;
        super::close(iter::once(&connection)).await;
        history?.missing()?
    };
    match missing.first() {
        Some(first) => Err(SchemaError::Missing(missing.len(), first.name().to_owned())),
        None => Ok(()),
    }
}

/// Migrations that a database has, lacks, and has from a later version.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Applied {
    pub known: usize,
    pub missing: usize,
    pub newer: usize,
}

/// Counts the migrations; changes nothing.
pub(super) async fn count(connection: &DatabaseConnection) -> Result<Applied, DbErr> {
    Ok(History::read(connection).await?.count())
}

async fn open(url: &Url) -> Result<DatabaseConnection, DbErr> {
    // One connection, because an advisory lock belongs to the session that took it.
    let mut options = ConnectOptions::new(url.text());
    options
        .max_connections(1)
        .acquire_timeout(CONNECT_TIMEOUT)
        .connect_timeout(CONNECT_TIMEOUT)
        .sqlx_logging(false)
        .map_sqlx_postgres_opts(sessions::without_unknown_parameters)
        .map_sqlx_sqlite_opts(|options| options.busy_timeout(apply::GIVE_UP));
    Database::connect(options).await
}

async fn migrate(connection: &DatabaseConnection, url: &Url) -> Result<(), SchemaError> {
    if History::read(connection).await?.missing()?.is_empty() {
        return Ok(());
    }
    if url.is_sqlite() {
        return apply::all(connection).await;
    }
    take_turn(connection).await?;
    let applied = apply::all(connection).await;
    // If this fails, the lock ends with the connection.
    let unlock = format!("SELECT pg_advisory_unlock({ADVISORY_LOCK})");
    drop(connection.execute_unprepared(&unlock).await);
    applied
}

/// Polls for the advisory lock: a statement that waits for it would have a snapshot, and `CREATE
/// INDEX CONCURRENTLY` of the node that has the lock waits for all older snapshots.
async fn take_turn(connection: &DatabaseConnection) -> Result<(), SchemaError> {
    let deadline = Instant::now() + TURN_TIMEOUT;
    let lock = format!("SELECT pg_try_advisory_lock({ADVISORY_LOCK}) AS taken");
    while Instant::now() < deadline {
        let query = Statement::from_string(connection.get_database_backend(), lock.clone());
        let row = connection.query_one_raw(query).await?;
        if row.is_some_and(|row| row.try_get("", "taken").unwrap_or(false)) {
            return Ok(());
        }
        tokio::time::sleep(jitter(TURN_POLL)).await;
    }
    Err(SchemaError::NoTurn)
}

/// Locks a file beside the SQLite database, which has no advisory locks. Creates both files
/// readable by their owner only; SQLite gives its other files the same mode.
async fn lock_file(url: &Url) -> Result<Option<File>, SchemaError> {
    let Some(database) = url.file() else {
        return Ok(None);
    };
    let mut path = database.clone().into_os_string();
    path.push(".migrating");
    let locked = tokio::task::spawn_blocking(move || {
        private(&database)?;
        let file = private(path.as_ref())?;
        file.lock()?;
        Ok(file)
    });
    match locked.await {
        Ok(locked) => locked.map(Some).map_err(SchemaError::Folder),
        Err(panic) => Err(SchemaError::Folder(std::io::Error::other(panic))),
    }
}

fn private(path: &Path) -> std::io::Result<File> {
    File::options()
        .create(true)
        .append(true)
        .mode(0o600)
        .open(path)
}
