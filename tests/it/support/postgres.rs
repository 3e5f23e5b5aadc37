//! Temporary database of one test on the shared PostgreSQL server.

use std::{env, thread};

use sea_orm::ConnectionTrait;
use uuid::Uuid;

use super::ledger;

/// An empty database that is dropped with its owner.
#[derive(Debug)]
pub(crate) struct Database {
    server: String,
    name: String,
}

impl Database {
    /// On the server that `scripts/test` started.
    pub(crate) async fn create() -> Self {
        let server = env::var_os("FLASH_SALE_TEST_DATABASE_URL").expect("run ./scripts/test");
        let database = Self {
            server: server.into_string().unwrap(),
            name: format!("t_{}", Uuid::now_v7().simple()),
        };
        database
            .execute_on_server(&format!("CREATE DATABASE {}", database.name))
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
