//! Runs the queries that find breaches of the invariants: one statement each, so that a check
//! during sales reads one snapshot and blocks no order.

use std::time::Duration;

use sea_orm::{ConnectionTrait, DbBackend, DbErr, FromQueryResult, Statement, TransactionTrait};

use super::{Result, Store, bounded};

/// Breaches shown per invariant; a longer list would add no information.
const SHOWN_MAX: u32 = 100;

/// A row that breaks an invariant: its name, and how it breaks it.
#[derive(Clone, Debug, PartialEq, Eq, FromQueryResult)]
pub struct Breach {
    pub subject: String,
    pub detail: String,
}

/// How much longer than its time limit a query may take until the server counts as silent: it ends
/// a query at the limit itself.
const ANSWER_GRACE: Duration = Duration::from_secs(2);

impl Store {
    /// Runs a query that returns `subject` and `detail` of every row that breaks an invariant.
    pub async fn breaches(&self, query: &str) -> Result<Vec<Breach>> {
        // A scan of a whole table may exceed the time limit of an order's statements.
        Ok(self.find(query, "SET LOCAL statement_timeout = 0").await?)
    }

    /// The same with a time limit, and on PostgreSQL without parallel workers, so that orders keep
    /// the other cores.
    pub async fn breaches_within(&self, query: &str, within: Duration) -> Result<Vec<Breach>> {
        let settings = format!(
            "SET LOCAL statement_timeout = {}; SET LOCAL max_parallel_workers_per_gather = 0",
            within.as_millis().max(1)
        );
        let find = self.find(query, &settings);
        bounded(&self.trust.read, within + ANSWER_GRACE, find).await
    }

    async fn find(&self, query: &str, settings: &str) -> std::result::Result<Vec<Breach>, DbErr> {
        let backend = self.read.get_database_backend();
        let statement = Statement::from_string(backend, format!("{query} LIMIT {SHOWN_MAX}"));
        let transaction = self.read.begin().await?;
        if backend == DbBackend::Postgres {
            transaction.execute_unprepared(settings).await?;
        }
        Breach::find_by_statement(statement).all(&transaction).await
    }
}
