//! Which migrations a database has, and whether this version can use its schema.
//!
//! The first migrations are rows of `seaql_migrations`, where version 0.1.0 looks: it refuses to
//! start if that table names a migration that it does not know. Later ones are rows of
//! `flash_sale_migrations`, which say from which migration on a version can use the schema.

use std::collections::BTreeMap;

use migration::{Migration, SHARED_WITH_0_1};
use sea_orm::{ConnectionTrait, DbBackend, DbErr, Statement};

use super::{Applied, SchemaError};

const FIRST: &str = "seaql_migrations";
const LATER: &str = "flash_sale_migrations";

/// The table of the first migrations as sea-orm-migration defines it.
const CREATE_FIRST: &str = "CREATE TABLE IF NOT EXISTS seaql_migrations (\
    version varchar NOT NULL PRIMARY KEY, applied_at bigint NOT NULL)";
/// `compatible_with`: the oldest migration whose version can use the schema.
const CREATE_LATER: &str = "CREATE TABLE IF NOT EXISTS flash_sale_migrations (\
    name text NOT NULL PRIMARY KEY, compatible_with text NOT NULL, applied_at bigint NOT NULL)";

/// The applied migrations by name, each with the oldest one that its schema is compatible with, if
/// it says so.
#[derive(Debug, Default)]
pub(super) struct History(BTreeMap<String, Option<String>>);

impl History {
    /// Reads only: the role may not be allowed to create tables.
    pub(super) async fn read(connection: &impl ConnectionTrait) -> Result<Self, DbErr> {
        let mut applied = BTreeMap::new();
        if exists(connection, FIRST).await? {
            let query = "SELECT version AS name FROM seaql_migrations";
            for row in rows(connection, query).await? {
                applied.insert(row.try_get("", "name")?, None);
            }
        }
        if exists(connection, LATER).await? {
            let query = "SELECT name, compatible_with FROM flash_sale_migrations";
            for row in rows(connection, query).await? {
                let compatible_with = Some(row.try_get("", "compatible_with")?);
                applied.insert(row.try_get("", "name")?, compatible_with);
            }
        }
        Ok(Self(applied))
    }

    /// Whether no migration was applied: the database is new.
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The migrations of this version that the database lacks, in order.
    ///
    /// # Errors
    /// When a migration of a newer version does not allow this version to use the schema.
    pub(super) fn missing(&self) -> Result<Vec<Migration>, SchemaError> {
        let known = migration::all();
        let newest = known.last().map(|known| known.name().to_owned());
        for (name, compatible_with) in &self.0 {
            let is_known = known.iter().any(|known| known.name() == name);
            let allows = compatible_with
                .as_ref()
                .is_some_and(|oldest| newest.as_ref().is_some_and(|newest| oldest <= newest));
            if !is_known && !allows {
                return Err(SchemaError::TooNew(name.clone()));
            }
        }
        let missing = known
            .into_iter()
            .filter(|known| !self.0.contains_key(known.name()))
            .collect();
        Ok(missing)
    }

    pub(super) fn count(&self) -> Applied {
        let all = migration::all();
        let has = |migration: &&Migration| self.0.contains_key(migration.name());
        let known = all.iter().filter(has).count();
        Applied {
            known,
            missing: all.len() - known,
            newer: self.0.len() - known,
        }
    }
}

/// Creates the tables of this file.
pub(super) async fn create_tables(connection: &impl ConnectionTrait) -> Result<(), DbErr> {
    for table in [CREATE_FIRST, CREATE_LATER] {
        connection.execute_unprepared(table).await?;
    }
    Ok(())
}

/// Adds the migration, in the transaction that applies it.
pub(super) async fn record(connection: &impl ConnectionTrait, name: &str) -> Result<(), DbErr> {
    let backend = connection.get_database_backend();
    let applied_at = crate::domain::now().timestamp();
    let statement = if name <= SHARED_WITH_0_1 {
        Statement::from_sql_and_values(
            backend,
            "INSERT INTO seaql_migrations (version, applied_at) VALUES ($1, $2)",
            [name.into(), applied_at.into()],
        )
    } else {
        Statement::from_sql_and_values(
            backend,
            "INSERT INTO flash_sale_migrations (name, compatible_with, applied_at) \
             VALUES ($1, $2, $3)",
            [
                name.into(),
                migration::COMPATIBLE_WITH.into(),
                applied_at.into(),
            ],
        )
    };
    connection.execute_raw(statement).await?;
    Ok(())
}

async fn exists(connection: &impl ConnectionTrait, table: &str) -> Result<bool, DbErr> {
    let query = if connection.get_database_backend() == DbBackend::Postgres {
        // The information schema would hide a table that the role may not read.
        format!("SELECT 1 WHERE to_regclass('{table}') IS NOT NULL")
    } else {
        format!("SELECT 1 FROM sqlite_master WHERE name = '{table}'")
    };
    Ok(!rows(connection, &query).await?.is_empty())
}

async fn rows(
    connection: &impl ConnectionTrait,
    query: &str,
) -> Result<Vec<sea_orm::QueryResult>, DbErr> {
    let statement = Statement::from_string(connection.get_database_backend(), query);
    connection.query_all_raw(statement).await
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with(more: &[(&str, Option<&str>)]) -> History {
        let known = migration::all();
        let known = known.iter().map(|known| (known.name().to_owned(), None));
        let more = more
            .iter()
            .map(|(name, oldest)| ((*name).to_owned(), oldest.map(str::to_owned)));
        History(known.chain(more).collect())
    }

    #[test]
    fn a_newer_schema_is_used_if_all_its_migrations_allow_it() {
        let known = migration::all();
        let newest = known.last().unwrap().name();
        let allowed = ("m2099_a", Some(newest));
        assert!(with(&[]).missing().unwrap().is_empty());
        assert!(with(&[allowed]).missing().unwrap().is_empty());
        for refused in [("m2099_b", Some("m2099_b")), ("m2099_b", None)] {
            let error = with(&[allowed, refused]).missing().err().unwrap();
            assert!(matches!(error, SchemaError::TooNew(name) if name == "m2099_b"));
        }
    }

    #[test]
    fn an_empty_database_lacks_every_migration_in_order() {
        let missing = History::default().missing().unwrap();
        assert_eq!(missing.len(), migration::all().len());
        let names: Vec<_> = missing.iter().map(|it| it.name().to_owned()).collect();
        assert!(names.is_sorted(), "{names:?}");
    }

    #[test]
    fn migrations_are_counted_by_who_knows_them() {
        let all = migration::all().len();
        let counted = |applied, missing, newer| Applied {
            known: applied,
            missing,
            newer,
        };
        assert_eq!(History::default().count(), counted(0, all, 0));
        let mut history = with(&[("m2099_a", None)]);
        assert_eq!(history.count(), counted(all, 0, 1));
        drop(history.0.pop_first());
        assert_eq!(history.count(), counted(all - 1, 1, 1));
    }
}
