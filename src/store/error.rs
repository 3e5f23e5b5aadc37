//! Database error classes: SeaORM and sqlx errors mapped to unreachable, violated or refused.

use sea_orm::{DbErr, RuntimeErr, sqlx};

use crate::domain::in_one_line;

#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Nothing was written.
    #[error("{}", situation(.0))]
    Unreachable(#[source] DbErr),
    /// The outcome of a write is unknown; a read has no answer.
    #[error("the database did not answer in time")]
    Silent,
    /// The connection broke during the commit.
    #[error("the outcome of a commit is unknown")]
    CommitUnknown(#[source] Option<DbErr>),
    /// Nothing was written.
    #[error("the database refused a value: {0:?}")]
    Violates(Constraint),
    /// A bug: the service sent a statement that the database does not accept.
    #[error("the database refused a statement")]
    Refused(#[source] DbErr),
}

impl Error {
    /// Whether an open connection broke, possibly unnoticed before this use of it. A failure to
    /// open a connection does not count: it proves nothing about the open ones.
    pub(super) fn is_broken_connection(&self) -> bool {
        let Self::Unreachable(DbErr::Exec(error) | DbErr::Query(error)) = self else {
            return false;
        };
        let RuntimeErr::SqlxError(cause) = error else {
            return false;
        };
        if let sqlx::Error::Database(refusal) = &**cause {
            let code = refusal.code();
            return code.is_some_and(|code| TERMINATED.contains(&&*code));
        }
        matches!(**cause, sqlx::Error::Io(_))
    }

    /// Whether the server refused a write because it only reads.
    pub(super) fn is_read_only(&self) -> bool {
        let (Self::Unreachable(error) | Self::CommitUnknown(Some(error))) = self else {
            return false;
        };
        let Some(sqlx::Error::Database(refusal)) = sqlx_error(error) else {
            return false;
        };
        refusal.code().as_deref() == Some(READ_ONLY)
    }

    /// Whether a statement that was not part of a transaction may have been executed.
    pub fn may_have_written(&self) -> bool {
        let Self::Unreachable(
            DbErr::Exec(RuntimeErr::SqlxError(cause)) | DbErr::Query(RuntimeErr::SqlxError(cause)),
        ) = self
        else {
            return matches!(self, Self::Silent | Self::CommitUnknown(_));
        };
        if let sqlx::Error::Database(refusal) = &**cause {
            let code = refusal.code().unwrap_or_default();
            return OUTCOME_UNKNOWN.iter().any(|class| code.starts_with(class));
        }
        !matches!(**cause, sqlx::Error::PoolTimedOut | sqlx::Error::PoolClosed)
    }

    /// The error of a statement that commits: one after which it may have been executed leaves the
    /// outcome of the commit unknown.
    pub(super) fn of_commit(self) -> Self {
        if !self.may_have_written() {
            return self;
        }
        match self {
            Self::Unreachable(source) => Self::CommitUnknown(Some(source)),
            other @ (Self::Silent
            | Self::CommitUnknown(_)
            | Self::Violates(_)
            | Self::Refused(_)) => other,
        }
    }

    /// The error with its causes, in one line, for the log.
    pub fn chain(&self) -> String {
        let first: &dyn std::error::Error = self;
        in_one_line(std::iter::successors(Some(first), |error| error.source()))
    }
}

/// What an operator looks for: a row that a session keeps locked is no database that is down.
fn situation(error: &DbErr) -> &'static str {
    match sqlx_error(error) {
        Some(sqlx::Error::PoolTimedOut) => {
            "the database cannot be reached: no connection in time (is the server up at this address?)"
        }
        Some(sqlx::Error::Database(refusal)) => match refusal.code().as_deref() {
            Some(LOCK_NOT_AVAILABLE) => "another session of the database keeps a row locked",
            Some(QUERY_CANCELED) => "the database did not finish a statement in time",
            Some(READ_ONLY) => "the database only reads",
            Some(_) | None => "the database cannot be used now",
        },
        Some(_) | None => "the database cannot be reached",
    }
}

/// The constraints that requests can violate; the migrations define their names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Constraint {
    Sku,
    Reference,
    IdempotencyKey,
    SaleWindow,
}

/// The name in PostgreSQL's message, and the text in SQLite's.
const CONSTRAINTS: [(Constraint, &str, &str); 5] = [
    (Constraint::Sku, "products_sku_key", "products.sku"),
    (
        Constraint::Reference,
        "orders_reference_key",
        "orders.reference",
    ),
    (
        Constraint::IdempotencyKey,
        "orders_product_id_user_id_idempotency_key_key",
        "orders.product_id, orders.user_id, orders.idempotency_key",
    ),
    (
        Constraint::IdempotencyKey,
        "waitlist_entries_product_id_user_id_idempotency_key_key",
        "waitlist_entries.product_id, waitlist_entries.user_id, waitlist_entries.idempotency_key",
    ),
    (
        Constraint::SaleWindow,
        "products_window_in_order",
        "products_window_in_order",
    ),
];

/// SQLSTATE classes and codes of transient errors: connection failures, a login that is refused (its
/// password is being replaced), too many connections,
/// shutdown, statement and lock time-outs, serialization and deadlock, a transaction ended for
/// idling while its node was paused, a read-only server after a fail-over.
const TRANSIENT: [&str; 9] = [
    "08",
    "28",
    "53",
    "57",
    LOCK_NOT_AVAILABLE,
    "40001",
    "40P01",
    "25P03",
    READ_ONLY,
];
/// SQLSTATE of `lock_timeout`.
const LOCK_NOT_AVAILABLE: &str = "55P03";
/// SQLSTATE of `statement_timeout`.
const QUERY_CANCELED: &str = "57014";
/// SQLSTATE of a write that a server refuses because it only reads.
const READ_ONLY: &str = "25006";
/// SQLSTATE codes of a closed connection: server shutdown, or idle for too long.
const TERMINATED: [&str; 2] = ["57P01", "57P05"];
/// SQLSTATE classes and codes after which a statement may have been executed.
const OUTCOME_UNKNOWN: [&str; 3] = ["08", "40003", "57P"];
/// SQLite's primary codes of faults that pass, or that an operator ends: BUSY, LOCKED, READONLY,
/// IOERR, FULL. An extended code has them in its last byte.
const TRANSIENT_SQLITE: [u32; 5] = [5, 6, 8, 10, 13];

impl From<DbErr> for Error {
    fn from(error: DbErr) -> Self {
        let Some(cause) = sqlx_error(&error) else {
            let no_connection = matches!(error, DbErr::ConnectionAcquire(_) | DbErr::Conn(_));
            return if no_connection {
                Self::Unreachable(error)
            } else {
                Self::Refused(error)
            };
        };
        let sqlx::Error::Database(refusal) = cause else {
            return Self::Unreachable(error);
        };
        if let Some(constraint) = violated(refusal.message()) {
            return Self::Violates(constraint);
        }
        let code = refusal.code().unwrap_or_default();
        let postgres = refusal
            .try_downcast_ref::<sqlx::postgres::PgDatabaseError>()
            .is_some();
        let transient = if postgres {
            TRANSIENT.iter().any(|class| code.starts_with(class))
        } else {
            is_transient_in_sqlite(&code)
        };
        if transient {
            Self::Unreachable(error)
        } else {
            Self::Refused(error)
        }
    }
}

fn is_transient_in_sqlite(code: &str) -> bool {
    let code = code.parse::<u32>().unwrap_or_default();
    TRANSIENT_SQLITE.contains(&(code & 0xff))
}

fn sqlx_error(error: &DbErr) -> Option<&sqlx::Error> {
    if let DbErr::Conn(RuntimeErr::SqlxError(cause))
    | DbErr::Exec(RuntimeErr::SqlxError(cause))
    | DbErr::Query(RuntimeErr::SqlxError(cause)) = error
    {
        return Some(cause);
    }
    None
}

fn violated(message: &str) -> Option<Constraint> {
    CONSTRAINTS
        .iter()
        .find(|(_, postgres, sqlite)| message.contains(postgres) || message.contains(sqlite))
        .map(|(constraint, _, _)| *constraint)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_disk_is_no_bug_and_a_violated_constraint_is_no_outage() {
        for transient in ["5", "517", "8", "1032", "778", "13"] {
            assert!(is_transient_in_sqlite(transient), "{transient}");
        }
        for permanent in ["1", "19", "2067", ""] {
            assert!(!is_transient_in_sqlite(permanent), "{permanent}");
        }
    }
}
