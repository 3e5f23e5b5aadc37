//! Whether the database takes writes: a server that only reads is not the primary, or not any more.
//!
//! After a fail-over the pools hold connections to the server that was demoted, or that was still
//! recovering when they were opened. They work, so nothing else would replace them for half an
//! hour. A server that refuses a write (SQLSTATE 25006), or says that it only reads, therefore costs
//! both pools their connections: new ones follow the address to the primary.

use std::{
    sync::atomic::{AtomicBool, Ordering::Relaxed},
    time::{Duration, Instant},
};

use sea_orm::{ConnectionTrait, DbBackend, DbErr, Statement};
use tokio::sync::Mutex;

use super::{Error, Result, Store};
use crate::metrics;

/// While a server only reads, connections are replaced this often: each of them is a question
/// whether the address leads to the primary again.
const REPLACE_EVERY: Duration = Duration::from_millis(250);
/// Time limit of a check; a slower database counts as unable to take orders.
const CHECK_TIMEOUT: Duration = Duration::from_secs(1);
/// Checks within this time share an answer, so that no flood of them occupies the connections that
/// orders need.
const ANSWER_AGE_MAX: Duration = Duration::from_millis(100);

/// Whether transactions of this connection may write.
pub(super) const READS_ONLY: &str = "current_setting('transaction_read_only') = 'on'";

/// Whether the database can take an order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Condition {
    TakesWrites,
    OnlyReads,
    Unreachable,
}

#[derive(Debug, Default)]
pub(super) struct Writable {
    only_reads: AtomicBool,
    last: Mutex<Option<(Instant, Condition)>>,
}

impl Store {
    /// Whether the database can take an order; the answer is at most `ANSWER_AGE_MAX` old. Asks
    /// with the pool that orders use, so that many reads do not make a node look unhealthy.
    pub async fn condition(&self) -> Condition {
        let mut last = self.writable.last.lock().await;
        if let Some((at, condition)) = *last
            && at.elapsed() < ANSWER_AGE_MAX
        {
            return condition;
        }
        let condition = self.check().await;
        *last = Some((Instant::now(), condition));
        condition
    }

    async fn check(&self) -> Condition {
        let asked = tokio::time::timeout(CHECK_TIMEOUT, self.ask_server()).await;
        let Ok(Ok(only_reads)) = asked else {
            return Condition::Unreachable;
        };
        self.note_access(only_reads);
        if only_reads {
            Condition::OnlyReads
        } else {
            Condition::TakesWrites
        }
    }

    /// Whether the server only reads; SQLite has no such state.
    async fn ask_server(&self) -> std::result::Result<bool, DbErr> {
        if !self.is_postgres() {
            return self.write.ping().await.map(|()| false);
        }
        let question = Statement::from_string(DbBackend::Postgres, format!("SELECT {READS_ONLY}"));
        let row = self.write.query_one_raw(question).await?;
        row.map_or(Ok(false), |row| row.try_get_by_index(0))
    }

    /// Replaces the connections of both pools if the server refused a write because it only reads.
    pub fn note_failure(&self, error: &Error) {
        if error.is_read_only() {
            self.note_access(true);
        }
    }

    /// [`Store::note_failure`] for the error of a result, if it has one.
    pub(super) fn noted<T>(&self, result: Result<T>) -> Result<T> {
        result.inspect_err(|error| self.note_failure(error))
    }

    pub(super) fn note_access(&self, only_reads: bool) {
        let before = self.writable.only_reads.swap(only_reads, Relaxed);
        if only_reads {
            self.trust.write.revoke_after(REPLACE_EVERY);
            self.trust.read.revoke_after(REPLACE_EVERY);
            self.trust.payments.revoke_after(REPLACE_EVERY);
        }
        if before == only_reads {
            return;
        }
        metrics::database::only_reads(only_reads);
        if only_reads {
            tracing::warn!(
                "the database server only reads: connections are replaced until it writes"
            );
        } else {
            tracing::info!("the database server takes writes again");
        }
    }
}
