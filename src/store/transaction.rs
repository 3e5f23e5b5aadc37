//! What a caller does on one connection: a transaction, or statements that commit by themselves.

use sea_orm::{
    ConnectionTrait, DatabaseTransaction, DbBackend, DbErr, ExecResult, QueryResult, Statement,
    prelude::async_trait::async_trait,
};
use uuid::Uuid;

use super::{Error, Result, self_committing::Session, system};
use crate::domain::{OrderId, ProductId};

/// Writes the row of a table, but only where commits wait for standbys: its commit then waits until
/// they have everything that was visible here before. The lock of the row bounds the sessions that
/// wait while no standby answers: one for each row, the others give up by their `lock_timeout`.
fn write_where_standbys(table: &str) -> String {
    format!(
        "SELECT pg_logical_emit_message(true, 'flash-sale', ''::text) FROM {table} \
         WHERE id = $1 AND current_setting('synchronous_standby_names') <> '' FOR NO KEY UPDATE"
    )
}

/// The work of a caller on one connection; its statements are in the files of their tables.
#[derive(Debug)]
pub struct Transaction {
    pub(super) inner: Inner,
}

#[derive(Debug)]
pub(super) enum Inner {
    /// Rolls back when dropped.
    Begun(DatabaseTransaction),
    /// Each statement is a transaction.
    SelfCommitting(Session),
}

impl Transaction {
    pub(super) fn begun(transaction: DatabaseTransaction) -> Self {
        let inner = Inner::Begun(transaction);
        Self { inner }
    }

    pub(super) fn self_committing(session: Session) -> Self {
        let inner = Inner::SelfCommitting(session);
        Self { inner }
    }

    /// Whether each statement is a transaction of its own; then at most one may write.
    pub fn commits_by_itself(&self) -> bool {
        matches!(self.inner, Inner::SelfCommitting(_))
    }

    /// Commits the transaction, if there is one.
    ///
    /// # Errors
    /// [`Error::CommitUnknown`] when the connection broke before the answer arrived; any other
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

    /// Ends work that has written nothing, once all that it may have read of the product is as
    /// durable as a commit. A row proves nothing by being visible: a commit whose wait for the
    /// standbys was interrupted, by a crash or an ended session of any node, is visible although no
    /// standby has it. Nothing is written where no standbys are configured.
    pub async fn end_durably(self, product: ProductId) -> Result<()> {
        self.end_behind("products", product).await
    }

    /// [`Transaction::end_durably`] for what was read of an order.
    pub(super) async fn end_durably_for_order(self, order: OrderId) -> Result<()> {
        self.end_behind("orders", order).await
    }

    async fn end_behind(self, table: &str, id: Uuid) -> Result<()> {
        if !self.is_postgres() {
            return Ok(());
        }
        let write = write_where_standbys(table);
        let write = Statement::from_sql_and_values(DbBackend::Postgres, write, [id.into()]);
        // Not a query for a row, whose answer could arrive before that of the commit.
        self.inner.execute_raw(write).await?;
        self.commit().await
    }

    /// The result of a statement after which nothing else is written: it commits, if it does so by
    /// itself.
    pub(super) fn sent<T>(&self, result: std::result::Result<T, DbErr>) -> Result<T> {
        result.map_err(|error| {
            let error = Error::from(error);
            if self.commits_by_itself() {
                error.of_commit()
            } else {
                error
            }
        })
    }

    pub(super) fn is_postgres(&self) -> bool {
        self.inner.get_database_backend() == DbBackend::Postgres
    }

    /// That of its [`super::Store`].
    pub fn system(&self) -> &'static str {
        system(self.is_postgres())
    }
}

impl Inner {
    pub(super) async fn commit(self) -> std::result::Result<(), DbErr> {
        match self {
            Self::Begun(transaction) => transaction.commit().await,
            Self::SelfCommitting(_) => Ok(()),
        }
    }
}

#[async_trait]
impl ConnectionTrait for Inner {
    fn get_database_backend(&self) -> DbBackend {
        match self {
            Self::Begun(transaction) => transaction.get_database_backend(),
            Self::SelfCommitting(_) => DbBackend::Postgres,
        }
    }

    async fn execute_raw(&self, statement: Statement) -> std::result::Result<ExecResult, DbErr> {
        match self {
            Self::Begun(transaction) => transaction.execute_raw(statement).await,
            Self::SelfCommitting(session) => session.execute(statement).await,
        }
    }

    async fn execute_unprepared(&self, sql: &str) -> std::result::Result<ExecResult, DbErr> {
        match self {
            Self::Begun(transaction) => transaction.execute_unprepared(sql).await,
            Self::SelfCommitting(session) => {
                let statement = Statement::from_string(DbBackend::Postgres, sql);
                session.execute(statement).await
            }
        }
    }

    async fn query_one_raw(
        &self,
        statement: Statement,
    ) -> std::result::Result<Option<QueryResult>, DbErr> {
        match self {
            Self::Begun(transaction) => transaction.query_one_raw(statement).await,
            Self::SelfCommitting(session) => Ok(session.query(statement).await?.into_iter().next()),
        }
    }

    async fn query_all_raw(
        &self,
        statement: Statement,
    ) -> std::result::Result<Vec<QueryResult>, DbErr> {
        match self {
            Self::Begun(transaction) => transaction.query_all_raw(statement).await,
            Self::SelfCommitting(session) => session.query(statement).await,
        }
    }
}
