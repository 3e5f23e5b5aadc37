//! The database of a run: a SQLite file, a private PostgreSQL database, or a given URL.

use std::{path::Path, time::Duration};

use anyhow::Context;
use entities::products::Entity as Products;
use flash_sale::domain::Secret;
use sea_orm::{
    ConnectOptions, ConnectionTrait, DatabaseConnection, DbBackend, EntityTrait, Statement,
};
use test_support::postgres::Postgres;
use uuid::Uuid;

use super::Setup;

/// Open transactions of other connections.
const OPEN_TRANSACTIONS: &str = "SELECT pid FROM pg_stat_activity \
    WHERE datname = current_database() AND pid <> pg_backend_pid() AND state <> 'idle'";

/// Entries of a number of users on a product's waitlist.
const WAITING_POSTGRES: &str = "\
    INSERT INTO waitlist_entries (id, product_id, user_id, quantity, status, created_at) \
    SELECT gen_random_uuid(), $1, 'waiting-' || n, 1, 'waiting', now() \
    FROM generate_series(1, $2) AS n";
const WAITING_SQLITE: &str = "\
    WITH RECURSIVE numbers AS (SELECT 1 AS n UNION ALL SELECT n + 1 FROM numbers WHERE n < ?2) \
    INSERT INTO waitlist_entries (id, product_id, user_id, quantity, status, created_at) \
    SELECT randomblob(16), ?1, 'waiting-' || n, 1, 'waiting', \
        strftime('%Y-%m-%dT%H:%M:%S+00:00', 'now') FROM numbers";

#[derive(Debug)]
pub(crate) struct Database {
    url: Secret,
    kind: Backing,
}

#[derive(Debug)]
enum Backing {
    /// A file cannot be stopped, so an exclusive transaction blocks every write instead.
    Sqlite {
        blocker: Option<DatabaseConnection>,
    },
    Postgres {
        server: Postgres,
    },
    Given,
}

impl Database {
    pub(crate) async fn open(plan: &Setup<'_>, dir: &Path) -> anyhow::Result<Self> {
        if let Some(url) = plan.database_url {
            let url = url.clone();
            return Ok(Self {
                url,
                kind: Backing::Given,
            });
        }
        if let Some(server) = plan.postgres {
            let url = server.create_database(&plan.run.replace('-', "_")).await?;
            let server = server.clone();
            return Ok(Self {
                url,
                kind: Backing::Postgres { server },
            });
        }
        let file = dir.join("flash-sale.db");
        Ok(Self {
            url: Secret::new(format!("sqlite://{}", file.display())),
            kind: Backing::Sqlite { blocker: None },
        })
    }

    pub(crate) fn url(&self) -> &Secret {
        &self.url
    }

    pub(crate) fn kind(&self) -> &'static str {
        if self.url.expose().starts_with("sqlite") {
            "sqlite"
        } else {
            "postgres"
        }
    }

    /// Whether the runner may stop it.
    pub(crate) fn can_stop(&self) -> bool {
        !matches!(self.kind, Backing::Given)
    }

    /// The product's stock, as it appears in the keys of its locks.
    pub(crate) async fn stock(&self, product: Uuid) -> anyhow::Result<String> {
        let connection = self.connect().await?;
        let row = Products::find_by_id(product).one(&connection).await?;
        connection.close().await?;
        Ok(row.map(|row| row.stock.to_string()).unwrap_or_default())
    }

    /// Adds `count` entries to the product's waitlist, as if these buyers had joined.
    pub(crate) async fn add_waiting(&self, product: Uuid, count: u32) -> anyhow::Result<()> {
        let connection = self.connect().await?;
        let backend = connection.get_database_backend();
        let sql = if backend == DbBackend::Postgres {
            WAITING_POSTGRES
        } else {
            WAITING_SQLITE
        };
        let count = i64::from(count);
        let insert = Statement::from_sql_and_values(backend, sql, [product.into(), count.into()]);
        connection.execute_raw(insert).await?;
        connection.execute_unprepared("ANALYZE").await?;
        Ok(connection.close().await?)
    }

    pub(crate) fn is_file(&self) -> bool {
        matches!(self.kind, Backing::Sqlite { .. })
    }

    /// Whether a transaction that may write is open; `false` for a given database.
    pub(crate) async fn is_being_written(&self) -> anyhow::Result<bool> {
        match &self.kind {
            Backing::Sqlite { .. } => self.has_writer().await,
            Backing::Postgres { .. } => self.has_transaction().await,
            Backing::Given => Ok(false),
        }
    }

    fn options(&self) -> ConnectOptions {
        let mut options = ConnectOptions::new(self.url.expose());
        options.max_connections(1).sqlx_logging(false);
        options
    }

    async fn connect(&self) -> anyhow::Result<DatabaseConnection> {
        Ok(sea_orm::Database::connect(self.options()).await?)
    }

    async fn has_transaction(&self) -> anyhow::Result<bool> {
        let connection = self.connect().await?;
        let open = Statement::from_string(DbBackend::Postgres, OPEN_TRANSACTIONS);
        let found = connection.query_one_raw(open).await?;
        connection.close().await?;
        Ok(found.is_some())
    }

    async fn has_writer(&self) -> anyhow::Result<bool> {
        let mut options = self.options();
        options.map_sqlx_sqlite_opts(|options| options.busy_timeout(Duration::ZERO));
        // Opening fails while another connection writes.
        let Ok(connection) = sea_orm::Database::connect(options).await else {
            return Ok(true);
        };
        let begun = connection.execute_unprepared("BEGIN IMMEDIATE").await;
        if begun.is_ok() {
            connection.execute_unprepared("ROLLBACK").await?;
        }
        connection.close().await?;
        Ok(begun.is_err())
    }

    /// Makes the server refuse writes, or take them again; connections stay open.
    pub(crate) async fn only_reads(&self, only_reads: bool) -> anyhow::Result<&'static str> {
        let Backing::Postgres { server } = &self.kind else {
            anyhow::bail!("this run did not start PostgreSQL");
        };
        server.only_reads(only_reads).await?;
        Ok(if only_reads {
            "PostgreSQL only reads"
        } else {
            "PostgreSQL takes writes again"
        })
    }

    /// Returns a description for the report.
    pub(crate) async fn stop(&mut self) -> anyhow::Result<&'static str> {
        let options = self.options();
        match &mut self.kind {
            Backing::Sqlite { blocker } => {
                let connection = sea_orm::Database::connect(options).await?;
                connection
                    .execute_unprepared("PRAGMA busy_timeout = 10000")
                    .await?;
                connection.execute_unprepared("BEGIN EXCLUSIVE").await?;
                *blocker = Some(connection);
                Ok("database locked against all writes")
            }
            Backing::Postgres { server } => {
                server.kill().await?;
                Ok("PostgreSQL killed")
            }
            Backing::Given => anyhow::bail!("this run did not start the database"),
        }
    }

    pub(crate) async fn start(&mut self) -> anyhow::Result<&'static str> {
        match &mut self.kind {
            Backing::Sqlite { blocker } => {
                let connection = blocker.take().context("the database was not stopped")?;
                connection.execute_unprepared("ROLLBACK").await?;
                connection.close().await?;
                Ok("database unlocked")
            }
            Backing::Postgres { server } => {
                server.start().await?;
                Ok("PostgreSQL started again")
            }
            Backing::Given => anyhow::bail!("this run did not start the database"),
        }
    }
}
