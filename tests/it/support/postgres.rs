//! PostgreSQL: a database of one's own on the shared server, or a whole server for the faults.

use std::{env, fs, path::PathBuf, process::Command, thread};

use nix::sys::signal::Signal;
use sea_orm::ConnectionTrait;
use tempfile::TempDir;
use uuid::Uuid;

use super::{
    free_port, ledger,
    process::{descendants_of, signal},
    repository,
};

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
            .tell_server(&format!("CREATE DATABASE {}", database.name))
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

    async fn tell_server(&self, sql: &str) {
        let connection = ledger::connect(&self.server).await;
        connection.execute_unprepared(sql).await.unwrap();
        connection.close().await.unwrap();
    }
}

impl Drop for Database {
    /// On a thread of its own, because the test's runtime may be on its way out.
    fn drop(&mut self) {
        thread::scope(|scope| {
            let dropping = scope.spawn(|| {
                let runtime = tokio::runtime::Builder::new_current_thread()
                    .enable_all()
                    .build();
                let sql = format!("DROP DATABASE {} WITH (FORCE)", self.name);
                runtime.unwrap().block_on(self.tell_server(&sql));
            });
            // A test that has failed already must not be ended by a second panic.
            drop(dropping.join());
        });
    }
}

/// A whole server, to be killed, stopped and started again.
#[derive(Debug)]
pub(crate) struct Server {
    directory: TempDir,
    port: u16,
}

impl Server {
    pub(crate) fn start() -> Self {
        let server = Self {
            directory: TempDir::new().unwrap(),
            port: free_port(),
        };
        server.restart();
        server
    }

    pub(crate) fn url(&self) -> String {
        format!("postgres://postgres@127.0.0.1:{}/postgres", self.port)
    }

    /// Starts it on the folder and port it had.
    pub(crate) fn restart(&self) {
        self.script("start", &[self.port.to_string()]);
    }

    /// In good order, as for an update.
    pub(crate) fn stop(&self) {
        self.script("stop", &[]);
    }

    /// As a power cut would.
    pub(crate) fn kill(&self) {
        self.script("kill", &[]);
    }

    /// Every process of the server goes silent; connections stay open.
    pub(crate) fn pause(&self) {
        self.signal_all(Signal::SIGSTOP);
    }

    pub(crate) fn resume(&self) {
        self.signal_all(Signal::SIGCONT);
    }

    fn signal_all(&self, sent: Signal) {
        let postmaster = self.postmaster().unwrap();
        // The postmaster first: once it is stopped it starts no more children.
        signal(postmaster, sent);
        for child in descendants_of(postmaster) {
            signal(child, sent);
        }
    }

    fn postmaster(&self) -> Option<u32> {
        let pid = fs::read_to_string(self.pid_file()).ok()?;
        pid.lines().next()?.trim().parse().ok()
    }

    fn pid_file(&self) -> PathBuf {
        self.directory().join("data/postmaster.pid")
    }

    /// Below the temporary folder: the server's user must own it.
    fn directory(&self) -> PathBuf {
        self.directory.path().join("postgres")
    }

    fn script(&self, command: &str, more: &[String]) {
        let done = self.prepared(command).args(more).output().unwrap();
        assert!(
            done.status.success(),
            "scripts/postgres {command}: {done:?}"
        );
    }

    fn prepared(&self, command: &str) -> Command {
        let mut script = Command::new(repository("scripts/postgres"));
        script.arg(command).arg(self.directory());
        script
    }
}

impl Drop for Server {
    /// Without a panic of its own: the test may have failed already.
    fn drop(&mut self) {
        if let Some(postmaster) = self.postmaster() {
            for process in descendants_of(postmaster).into_iter().chain([postmaster]) {
                signal(process, Signal::SIGCONT);
            }
            drop(self.prepared("kill").output());
        }
    }
}
