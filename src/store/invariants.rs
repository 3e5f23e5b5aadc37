//! The invariants as queries: each finds the rows that break it, in one statement, so that a
//! check during sales sees one moment and blocks nobody.

use sea_orm::{ConnectionTrait, DbBackend, FromQueryResult, Statement, TransactionTrait};

use super::{Result, Store};

/// Breaches shown per check; more add nothing.
const SHOWN_MAX: u32 = 100;

/// One row that breaks an invariant: which, and how.
#[derive(Clone, Debug, PartialEq, Eq, FromQueryResult)]
pub struct Breach {
    pub subject: String,
    pub detail: String,
}

impl Store {
    /// Runs a query that gives `subject` and `detail` for every row that breaks an invariant.
    pub async fn breaches(&self, query: &str) -> Result<Vec<Breach>> {
        let backend = self.read.get_database_backend();
        let statement = Statement::from_string(backend, format!("{query} LIMIT {SHOWN_MAX}"));
        let transaction = self.read.begin().await?;
        if backend == DbBackend::Postgres {
            // A whole table may take longer than any order may.
            transaction
                .execute_unprepared("SET LOCAL statement_timeout = 0")
                .await?;
        }
        Ok(Breach::find_by_statement(statement)
            .all(&transaction)
            .await?)
    }
}
