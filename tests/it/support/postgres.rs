//! Temporary database of one test on the shared PostgreSQL server.

use std::{env, fs, thread};

use sea_orm::ConnectionTrait;
use tokio::sync::OnceCell;
use uuid::Uuid;

use super::{
    ledger, repository,
    service::{ended, program},
};

/// Set by `scripts/test --partitioned`: the number of partitions.
const PARTITIONS: &str = "FLASH_SALE_TEST_PARTITIONS";

/// The partitioned database that the others are copies of.
static PARTITIONED: OnceCell<Database> = OnceCell::const_new();

/// A database that is dropped with its owner.
#[derive(Debug)]
pub(crate) struct Database {
    server: String,
    name: String,
}

impl Database {
    /// For a service, which migrates it unless it is partitioned already.
    pub(crate) async fn create() -> Self {
        let Some(partitions) = env::var_os(PARTITIONS).filter(|it| !it.is_empty()) else {
            return Self::empty().await;
        };
        let partitions = partitions.into_string().unwrap();
        let original = PARTITIONED.get_or_init(async || Self::partitioned(&partitions).await);
        Self::create_as(&format!("TEMPLATE {}", original.await.name)).await
    }

    /// On the server that `scripts/test` started.
    pub(crate) async fn empty() -> Self {
        Self::create_as("").await
    }

    /// With the schema, partitioned as operators do it.
    pub(crate) async fn partitioned(partitions: &str) -> Self {
        let database = Self::empty().await;
        let migrate = ["migrate", "--database-url", &database.url()];
        let migrated = ended(program().args(migrate));
        assert!(migrated.status.success(), "{migrated:?}");
        database.partition(partitions).await;
        database
    }

    /// Partitions its tables with all their rows.
    pub(crate) async fn partition(&self, partitions: &str) {
        let script = repository("deploy/partitioning/partition.sql");
        let script = fs::read_to_string(script).unwrap();
        let connection = ledger::connect(&self.url()).await;
        let set = format!("SET flash_sale.partitions = {partitions}");
        connection.execute_unprepared(&set).await.unwrap();
        connection.execute_unprepared(&script).await.unwrap();
        connection.close().await.unwrap();
    }

    async fn create_as(options: &str) -> Self {
        let server = env::var_os("FLASH_SALE_TEST_DATABASE_URL").expect("run ./scripts/test");
        let database = Self {
            server: server.into_string().unwrap(),
            name: format!("t_{}", Uuid::now_v7().simple()),
        };
        database
            .execute_on_server(&format!("CREATE DATABASE {} {options}", database.name))
            .await;
        database
    }

    pub(crate) fn url(&self) -> String {
        let (base, query) = self.server.split_once('?').unwrap_or((&self.server, ""));
        let (host, _) = base.rsplit_once('/').unwrap();
        let query = if query.is_empty() {
            String::new()
        } else {
            format!("?{query}")
        };
        format!("{host}/{}{query}", self.name)
    }

    async fn execute_on_server(&self, sql: &str) {
        let connection = ledger::connect(&self.server).await;
        connection.execute_unprepared(sql).await.unwrap();
        connection.close().await.unwrap();
    }
}

impl Drop for Database {
    /// On a thread of its own, because the test's runtime may be shutting down.
    fn drop(&mut self) {
        thread::scope(|scope| {
            let dropping = scope.spawn(|| {
                let runtime = tokio::runtime::Builder::new_current_thread()
                    .enable_all()
                    .build();
                let sql = format!("DROP DATABASE {} WITH (FORCE)", self.name);
                runtime.unwrap().block_on(self.execute_on_server(&sql));
            });
            // A second panic in a test that has already failed would abort the whole process.
            drop(dropping.join());
        });
    }
}
