//! One connection of a PostgreSQL pool, on which each statement is a transaction of its own.
//!
//! All statements of a session reach the same server: facts that another one tells, such as a
//! server that was demoted and lags behind, would not be covered by the version guard of the write.

use std::sync::Arc;

use sea_orm::{
    ConnAcquireErr, DbErr, ExecResult, QueryResult, RuntimeErr, Statement, Values,
    sqlx::{self, AssertSqlSafe, PgPool, Postgres, pool::PoolConnection, query::Query},
};
use sea_query_sqlx::SqlxValues;
use tokio::sync::Mutex;

use super::{Error, trust::Trust};

#[derive(Debug)]
pub(super) struct Session {
    pool: PgPool,
    trust: Arc<Trust>,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    connection: PoolConnection<Postgres>,
    /// Whether the server has answered on it in this session.
    answered: bool,
}

impl Session {
    /// Takes a connection, which may have broken while it was idle.
    pub(super) async fn open(pool: &PgPool, trust: &Arc<Trust>) -> Result<Self, DbErr> {
        let connection = acquire(pool).await?;
        Ok(Self {
            pool: pool.clone(),
            trust: Arc::clone(trust),
            state: Mutex::new(State {
                connection,
                answered: false,
            }),
        })
    }

    /// Executes a statement and returns after its commit: sqlx reads the answer to the end.
    pub(super) async fn execute(&self, statement: Statement) -> Result<ExecResult, DbErr> {
        let state = &mut *self.state.lock().await;
        let executed = query(statement).execute(&mut *state.connection).await;
        state.answered = true;
        let executed = executed.map_err(|error| DbErr::Exec(sqlx_error(error)));
        self.noted(executed).map(ExecResult::from)
    }

    /// Reads rows. The first read of a session is repeated on a new connection when its own had
    /// broken unnoticed.
    pub(super) async fn query(&self, statement: Statement) -> Result<Vec<QueryResult>, DbErr> {
        let state = &mut *self.state.lock().await;
        if state.answered {
            return self.fetch(statement, state).await;
        }
        match self.fetch(statement.clone(), state).await {
            Err(error) if is_broken(&error) => {
                state.connection = acquire(&self.pool).await?;
                self.fetch(statement, state).await
            }
            rows => rows,
        }
    }

    async fn fetch(
        &self,
        statement: Statement,
        state: &mut State,
    ) -> Result<Vec<QueryResult>, DbErr> {
        let rows = query(statement).fetch_all(&mut *state.connection).await;
        let rows = self.noted(rows.map_err(|error| DbErr::Query(sqlx_error(error))))?;
        state.answered = true;
        Ok(rows.into_iter().map(QueryResult::from).collect())
    }

    /// A broken connection revokes the trust in the others, which the same fault has affected.
    fn noted<T>(&self, result: Result<T, DbErr>) -> Result<T, DbErr> {
        result.inspect_err(|error| {
            if is_broken(error) {
                self.trust.revoke();
            }
        })
    }
}

async fn acquire(pool: &PgPool) -> Result<PoolConnection<Postgres>, DbErr> {
    pool.acquire().await.map_err(|error| {
        if matches!(error, sqlx::Error::PoolTimedOut) {
            return DbErr::ConnectionAcquire(ConnAcquireErr::Timeout);
        }
        if matches!(error, sqlx::Error::PoolClosed) {
            return DbErr::ConnectionAcquire(ConnAcquireErr::ConnectionClosed);
        }
        DbErr::Conn(sqlx_error(error))
    })
}

fn query(statement: Statement) -> Query<'static, Postgres, SqlxValues> {
    let values = statement.values.unwrap_or_else(|| Values(Vec::new()));
    sqlx::query_with(AssertSqlSafe(statement.sql), SqlxValues(values))
}

fn sqlx_error(error: sqlx::Error) -> RuntimeErr {
    RuntimeErr::SqlxError(Arc::new(error))
}

fn is_broken(error: &DbErr) -> bool {
    Error::from(error.clone()).is_broken_connection()
}
