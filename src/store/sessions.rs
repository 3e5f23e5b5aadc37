//! The server sessions of PostgreSQL connections: their settings, and whether each connection keeps
//! one of its own.
//!
//! Settings, prepared statements and the lock of a migration belong to a session. The settings are
//! made by a statement after connecting, because a pooler refuses start-up options, or drops them
//! without a word. A pooler that changes sessions between transactions would lose all three.

use std::{str::FromStr, sync::Arc, time::Duration};

use sea_orm::{
    DatabaseConnection, DbErr, RuntimeErr,
    sqlx::{
        self, AssertSqlSafe, ConnectOptions, Executor, PgConnection, Row,
        postgres::PgConnectOptions,
    },
};
use tokio::time::timeout;

use super::{Error, connect::Url};

/// Time limit to make the settings. Behind a pooler without a free session they wait for one.
const SETTINGS_TIMEOUT: Duration = Duration::from_secs(1);
/// Time limit to compare the sessions.
const CHECK_TIMEOUT: Duration = Duration::from_secs(3);
/// Connections that are compared where no pools are open.
const COMPARED: usize = 2;
/// Without parameters, so that no prepared statement is involved.
const SESSION: &str = "SELECT pg_backend_pid()";

/// Why a database cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    #[error(transparent)]
    Database(#[from] Error),
    #[error(
        "a pooler gives its clients another server session for each transaction, which loses time \
         limits and prepared statements: set pool_mode = session (PgBouncer), or connect directly"
    )]
    SharedSessions,
}

/// The statement that makes these settings.
pub(super) fn settings(values: &[(&str, &str)]) -> Arc<str> {
    let set = values
        .iter()
        .map(|(name, value)| format!("SET {name} = '{value}'"));
    Arc::from(set.collect::<Vec<_>>().join("; "))
}

/// Makes the settings of a new connection, in one round trip.
pub(super) async fn set_up(
    connection: &mut PgConnection,
    settings: Arc<str>,
) -> Result<(), sqlx::Error> {
    let set = connection.execute(AssertSqlSafe(settings));
    match timeout(SETTINGS_TIMEOUT, set).await {
        Ok(result) => result.map(drop),
        Err(_) => Err(sqlx::Error::PoolTimedOut),
    }
}

/// What every connection has in common. `PgBouncer` refuses the start-up parameter for the text form
/// of floating-point numbers, which the service does not use.
pub(super) fn without_unknown_parameters(options: PgConnectOptions) -> PgConnectOptions {
    options.extra_float_digits(None)
}

/// Compares the sessions of one connection of each pool.
pub(super) async fn check_pools(
    pools: impl Iterator<Item = &DatabaseConnection>,
) -> Result<(), ConnectError> {
    let compare = async {
        let mut acquired = Vec::new();
        for pool in pools {
            acquired.push(pool.get_postgres_connection_pool().acquire().await?);
        }
        are_shared(
            acquired
                .iter_mut()
                .map(|connection| &mut **connection)
                .collect(),
        )
        .await
    };
    conclude(timeout(CHECK_TIMEOUT, compare).await)
}

/// Compares the sessions of some new connections to this server.
pub(super) async fn check_server(url: &Url) -> Result<(), ConnectError> {
    let compare = async {
        let options = PgConnectOptions::from_str(url.text())?;
        let options = without_unknown_parameters(options);
        let mut opened = Vec::new();
        for _ in 0..COMPARED {
            opened.push(options.connect().await?);
        }
        are_shared(opened.iter_mut().collect()).await
    };
    conclude(timeout(CHECK_TIMEOUT, compare).await)
}

fn conclude<E>(compared: Result<Result<bool, sqlx::Error>, E>) -> Result<(), ConnectError> {
    match compared {
        Ok(Ok(false)) => Ok(()),
        Ok(Ok(true)) => Err(ConnectError::SharedSessions),
        Ok(Err(error)) => {
            let error = DbErr::Conn(RuntimeErr::SqlxError(Arc::new(error)));
            Err(ConnectError::Database(error.into()))
        }
        Err(_) => Err(ConnectError::Database(Error::Silent)),
    }
}

/// Whether one of these connections, none of which is in a transaction, changes its session, or has
/// that of another one.
///
/// A pooler that shares sessions hands out the one that became free last, which two connections
/// then have, or takes turns. The second round is in the opposite order, so that the turns of no
/// number of sessions meet the same connections again.
async fn are_shared(mut connections: Vec<&mut PgConnection>) -> Result<bool, sqlx::Error> {
    let mut first = Vec::new();
    for connection in &mut connections {
        first.push(session(connection).await?);
    }
    let mut again = Vec::new();
    for connection in connections.iter_mut().rev() {
        again.push(session(connection).await?);
    }
    again.reverse();
    let is_twice = |(index, pid)| first.iter().take(index).any(|other| other == pid);
    Ok(first != again || first.iter().enumerate().any(is_twice))
}

async fn session(connection: &mut PgConnection) -> Result<i32, sqlx::Error> {
    connection.fetch_one(SESSION).await?.try_get(0)
}
