//! SQL for the table `audit`, which is only ever added to: a trigger refuses everything else.
//!
//! A row is written in the transaction of the change that it describes.

use std::{future::Future, sync::Arc};

use chrono::{DateTime, TimeDelta, Utc};
use entities::audit::{ActiveModel, Column, Entity, Model};
use sea_orm::{
    ActiveValue::Set, ColumnTrait, ConnectionTrait, DbBackend, EntityTrait, QueryFilter,
    QueryOrder, QuerySelect, Statement,
};
use serde_json::Value;
use uuid::Uuid;

use super::{Error, QUERY_TIMEOUT, Result, Store, Transaction, array, trust::Trust};
use crate::{
    domain::{Actor, ActorRole, AuditAction, AuditRow, UserId, first_id_of},
    metrics,
    telemetry::request::{self, Ids},
};

/// The rows to list; `before` is the last id of the previous page.
#[derive(Clone, Debug, Default)]
pub struct AuditFilter {
    pub actor: Option<String>,
    pub target: Option<Uuid>,
    /// Rows of this time and later.
    pub from: Option<DateTime<Utc>>,
    /// Rows before this time.
    pub until: Option<DateTime<Utc>>,
    pub before: Option<Uuid>,
    pub limit: u64,
}

/// One text for any number of rows; empty texts stand for nulls.
const INSERT_POSTGRES: &str = "\
    INSERT INTO audit (id, at, actor, actor_role, action, target, before, after, request_id) \
    SELECT id, at, actor, actor_role, action, target, NULLIF(before, ''), NULLIF(after, ''), \
        NULLIF(request_id, '') \
    FROM unnest($1::uuid[], $2::timestamptz[], $3::text[], $4::text[], $5::text[], $6::uuid[], \
        $7::text[], $8::text[], $9::text[]) \
        AS new (id, at, actor, actor_role, action, target, before, after, request_id)";

impl From<Model> for AuditRow {
    fn from(row: Model) -> Self {
        let value = |text: Option<String>| text.and_then(|text| serde_json::from_str(&text).ok());
        let action = row.action.parse();
        Self {
            id: row.id,
            at: row.at,
            actor: Arc::new(Actor {
                id: UserId::from(row.actor),
                // The table has no other role.
                role: row.actor_role.parse().unwrap_or(ActorRole::Service),
                request_id: row.request_id,
                trace: None,
            }),
            action: action.unwrap_or(AuditAction::Other(row.action)),
            target: row.target,
            before: value(row.before).unwrap_or_default(),
            after: value(row.after).unwrap_or_default(),
        }
    }
}

/// Counts the rows and writes a line with the target `audit` for each. Called once they are durable.
pub fn log_audit(rows: &[AuditRow]) {
    for row in rows {
        let AuditRow {
            id, action, target, ..
        } = row;
        let Actor {
            id: actor,
            role,
            request_id,
            trace,
        } = &*row.actor;
        let caller = request_id.as_deref().zip(*trace);
        let ids = caller.and_then(|(request, trace)| Ids::of_caller(request, trace));
        // A lane logs the rows of many requests.
        request::on_behalf_of(ids, || {
            tracing::info!(
                target: "audit",
                row = %id, %actor, %role, %action, object = %target,
                before = %row.before, after = %row.after,
                "{role} {actor}: {action} {target}"
            );
        });
        metrics::instance::audited(action, 1);
    }
}

impl Store {
    /// Newest first.
    pub async fn audit(&self, filter: AuditFilter) -> Result<Vec<AuditRow>> {
        let mut query = Entity::find().order_by_desc(Column::Id).limit(filter.limit);
        if let Some(actor) = filter.actor {
            query = query.filter(Column::Actor.eq(actor));
        }
        if let Some(target) = filter.target {
            query = query.filter(Column::Target.eq(target));
        }
        // The ids are in the order of time, so that a time narrows the scan of any index.
        if let Some(from) = filter.from {
            query = query
                .filter(Column::Id.gte(first_id_of(from)))
                .filter(Column::At.gte(from));
        }
        if let Some(until) = filter.until {
            query = query
                .filter(Column::Id.lt(first_id_of(until + TimeDelta::milliseconds(1))))
                .filter(Column::At.lt(until));
        }
        if let Some(before) = filter.before {
            query = query.filter(Column::Id.lt(before));
        }
        let rows = self.bounded(|| query.clone().all(&self.read)).await?;
        Ok(rows.into_iter().map(AuditRow::from).collect())
    }

    /// Runs a change that has a transaction of its own, within the time of a query.
    pub(super) async fn in_time<T>(&self, change: impl Future<Output = Result<T>>) -> Result<T> {
        self.in_time_on(&self.trust.write, change).await
    }

    /// The same on the connections of the pool that is trusted so far.
    pub(super) async fn in_time_on<T>(
        &self,
        trust: &Trust,
        change: impl Future<Output = Result<T>>,
    ) -> Result<T> {
        // Boxed, because it holds the futures of a whole transaction.
        let Ok(result) = tokio::time::timeout(QUERY_TIMEOUT, Box::pin(change)).await else {
            trust.revoke();
            return Err(Error::Silent);
        };
        self.noted(result).inspect_err(|error| {
            if error.is_broken_connection() {
                trust.revoke();
            }
        })
    }
}

impl Transaction {
    /// Adds rows to the audit trail; the caller logs them after the commit ([`log_audit`]).
    pub async fn insert_audit(&self, rows: &[AuditRow]) -> Result<()> {
        if rows.is_empty() {
            return Ok(());
        }
        if self.is_postgres() {
            let statement = insert_statement(rows);
            self.inner.execute_raw(statement).await?;
        } else {
            Entity::insert_many(rows.iter().map(active_model))
                .exec_without_returning(&self.inner)
                .await?;
        }
        Ok(())
    }

    /// Whether the row exists.
    pub async fn has_audit(&self, id: Uuid) -> Result<bool> {
        Ok(Entity::find_by_id(id).one(&self.inner).await?.is_some())
    }

    /// Commits a change and its audit row, and logs the row.
    pub(super) async fn commit_audited(self, row: AuditRow) -> Result<()> {
        let rows = [row];
        self.insert_audit(&rows).await?;
        self.commit().await?;
        log_audit(&rows);
        Ok(())
    }
}

/// The text of a JSON value; `None` for null.
fn text(value: &Value) -> Option<String> {
    (!value.is_null()).then(|| value.to_string())
}

fn insert_statement(rows: &[AuditRow]) -> Statement {
    let texts = |field: fn(&AuditRow) -> Option<String>| {
        array(rows.iter().map(|row| field(row).unwrap_or_default()))
    };
    let values = [
        array(rows.iter().map(|row| row.id)),
        array(rows.iter().map(|row| row.at)),
        texts(|row| Some(row.actor.id.to_string())),
        texts(|row| Some(row.actor.role.to_string())),
        texts(|row| Some(row.action.to_string())),
        array(rows.iter().map(|row| row.target)),
        texts(|row| text(&row.before)),
        texts(|row| text(&row.after)),
        texts(|row| row.actor.request_id.clone()),
    ];
    Statement::from_sql_and_values(DbBackend::Postgres, INSERT_POSTGRES, values)
}

fn active_model(row: &AuditRow) -> ActiveModel {
    ActiveModel {
        id: Set(row.id),
        at: Set(row.at),
        actor: Set(row.actor.id.to_string()),
        actor_role: Set(row.actor.role.to_string()),
        action: Set(row.action.to_string()),
        target: Set(row.target),
        before: Set(text(&row.before)),
        after: Set(text(&row.after)),
        request_id: Set(row.actor.request_id.clone()),
    }
}
