//! Runs the queries that find breaches of the invariants: one statement each, so that a check
//! during sales reads one snapshot and blocks no order.

use sea_orm::{ConnectionTrait, DbBackend, FromQueryResult, Statement, TransactionTrait};

use super::{Result, Store};

/// Breaches shown per invariant; a longer list would add no information.
const SHOWN_MAX: u32 = 100;

/// A row that breaks an invariant: its name, and how it breaks it.
#[derive(Clone, Debug, PartialEq, Eq, FromQueryResult)]
pub struct Breach {
    pub subject: String,
    pub detail: String,
}

impl Store {
    /// Runs a query that returns `subject` and `detail` of every row that breaks an invariant.
    pub async fn breaches(&self, query: &str) -> Result<Vec<Breach>> {
        let backend = self.read.get_database_backend();
        let statement = Statement::from_string(backend, format!("{query} LIMIT {SHOWN_MAX}"));
        let transaction = self.read.begin().await?;
        if backend == DbBackend::Postgres {
            // A scan of a whole table may exceed the time limit of an order's statements.
            transaction
                .execute_unprepared("SET LOCAL statement_timeout = 0")
                .await?;
        }
        Ok(Breach::find_by_statement(statement)
            .all(&transaction)
            .await?)
    }
}
