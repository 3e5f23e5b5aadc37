//! Schema migration, one node at a time: an advisory lock (PostgreSQL) or a file lock (SQLite), as
//! the migrator itself takes no lock.

use std::{fs::File, os::unix::fs::OpenOptionsExt, path::Path, time::Duration};

use migration::{Migrator, MigratorTrait};
use sea_orm::{ConnectOptions, ConnectionTrait, Database, DatabaseConnection};

use super::{Error, Result, connect, connect::Url};

/// Any number that no other program uses for its advisory lock.
const ADVISORY_LOCK: i64 = 0x666c_6173_6873_616c;

/// A running database answers sooner; an unreachable one should be reported soon.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// How long another node may take for its migrations.
const LOCK_TIMEOUT: &str = "SET lock_timeout = '60s'";

pub(super) async fn up(url: &Url) -> Result<()> {
    connect::check_syntax(url)?;
    // One connection, because an advisory lock belongs to the session that took it.
    let mut options = ConnectOptions::new(url.text());
    options
        .max_connections(1)
        .acquire_timeout(CONNECT_TIMEOUT)
        .connect_timeout(CONNECT_TIMEOUT)
        .sqlx_logging(false)
        .map_sqlx_sqlite_opts(|options| options.create_if_missing(true));
    let file_lock = lock_file(url).await?;
    let connection = Database::connect(options).await?;
    let migrated = under_advisory_lock(&connection, url).await;
    drop(connection.close().await);
    drop(file_lock);
    migrated
}

async fn under_advisory_lock(connection: &DatabaseConnection, url: &Url) -> Result<()> {
    if url.is_sqlite() {
        return Ok(Migrator::up(connection, None).await?);
    }
    connection.execute_unprepared(LOCK_TIMEOUT).await?;
    connection
        .execute_unprepared(&format!("SELECT pg_advisory_lock({ADVISORY_LOCK})"))
        .await?;
    let migrated = Migrator::up(connection, None).await;
    connection
        .execute_unprepared(&format!("SELECT pg_advisory_unlock({ADVISORY_LOCK})"))
        .await?;
    Ok(migrated?)
}

/// Locks a file beside the SQLite database, which has no advisory locks. Creates both files
/// readable by their owner only; SQLite gives its other files the same mode.
async fn lock_file(url: &Url) -> Result<Option<File>> {
    let Some(database) = url.file() else {
        return Ok(None);
    };
    let mut path = database.clone().into_os_string();
    path.push(".migrating");
    let locked = tokio::task::spawn_blocking(move || {
        private(&database)?;
        let file = private(path.as_ref())?;
        file.lock()?;
        Ok::<_, std::io::Error>(file)
    })
    .await;
    match locked {
        Ok(Ok(file)) => Ok(Some(file)),
        Ok(Err(error)) => Err(Error::Unreachable(sea_orm::DbErr::Custom(format!(
            "cannot open the database's folder: {error}"
        )))),
        Err(panic) => Err(Error::Refused(sea_orm::DbErr::Custom(panic.to_string()))),
    }
}

fn private(path: &Path) -> std::io::Result<File> {
    File::options()
        .create(true)
        .append(true)
        .mode(0o600)
        .open(path)
}
