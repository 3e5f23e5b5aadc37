//! The cluster of `scripts/cluster`: PostgreSQL with fail-over, three nodes, `HAProxy` in front of both.

use std::{
    fs,
    path::PathBuf,
    process::{Command, Stdio},
    time::Duration,
};

use tempfile::TempDir;
use test_support::{process::Owned, service::clear_environment};
use tokio::{process::Command as AsyncCommand, sync::SemaphorePermit};

use super::{SOON, eventually, front::Front, repository, shop::slot, tokens, when};

/// Three PostgreSQL nodes are made anew; most of it is waiting.
const STARTS_WITHIN: Duration = Duration::from_mins(4);
/// A busy machine is not a dead one: what the fail-over manager waits for takes so much longer.
const FAILOVER_FACTOR: &str = "2";

#[derive(Debug)]
pub(crate) struct Cluster {
    pub(crate) front: Front,
    /// Leads to whichever PostgreSQL node is the primary.
    pub(crate) database_url: String,
    prometheus: Front,
    directory: TempDir,
    _script: Owned,
    _slot: SemaphorePermit<'static>,
}

impl Cluster {
    pub(crate) async fn start() -> Self {
        let slot = slot().await;
        let directory = TempDir::new().unwrap();
        let log = fs::File::create(directory.path().join("log")).unwrap();
        let child = script(&directory)
            .arg("start")
            .stdin(Stdio::null())
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .spawn()
            .unwrap();
        let mut script = Owned::new(child);
        let started = async || {
            let log = fs::read_to_string(directory.path().join("log")).unwrap();
            let ended = script.exited().unwrap();
            assert!(ended.is_none(), "scripts/cluster ended: {log}");
            log.contains("\nReady.").then_some(())
        };
        eventually("the cluster is ready", STARTS_WITHIN, started).await;
        let port = |part: &str| {
            let file = directory.path().join("cluster").join(part).join("port");
            fs::read_to_string(file).unwrap().trim().to_owned()
        };
        let client = test_support::http::client().unwrap();
        let database = port("haproxy-db");
        let front = |part| Front::new(format!("http://127.0.0.1:{}", port(part)), client.clone());
        Self {
            front: front("haproxy"),
            prometheus: front("prometheus"),
            database_url: format!("postgres://postgres@127.0.0.1:{database}/shop"),
            directory,
            _script: script,
            _slot: slot,
        }
    }

    /// Waits until a query of the cluster's Prometheus returns data.
    pub(crate) async fn measures(&self, query: &str) {
        eventually(query, SOON * 2, async || {
            let call = self
                .prometheus
                .get("/api/v1/query")
                .query(&[("query", query)]);
            let body = call.stream().await.text().await.unwrap();
            let body: serde_json::Value = serde_json::from_str(&body).unwrap();
            assert_eq!(body["status"], "success", "{query}: {body}");
            when(!body["data"]["result"].as_array().unwrap().is_empty())
        })
        .await;
    }

    /// Runs `scripts/cluster` with these words, for example a fault, and returns what it printed.
    pub(crate) async fn run(&self, words: &[&str]) -> String {
        let mut command = AsyncCommand::from(script(&self.directory));
        let output = command.args(words).output().await.unwrap();
        assert!(output.status.success(), "{words:?}: {output:?}");
        String::from_utf8(output.stdout).unwrap()
    }
}

impl Drop for Cluster {
    /// The script stops what it has started. Should the test be killed, it does so too.
    fn drop(&mut self) {
        drop(script(&self.directory).arg("stop").output());
    }
}

fn script(directory: &TempDir) -> Command {
    let folder: PathBuf = directory.path().join("cluster");
    let mut command = Command::new(repository("scripts/cluster"));
    clear_environment(&mut command)
        .env("FLASH_SALE", env!("CARGO_BIN_EXE_flash-sale"))
        .env("CLUSTER_DIR", folder)
        .env("AUTH_SECRET", tokens::SECRET)
        .env("FAILOVER_FACTOR", FAILOVER_FACTOR)
        .env("STOP_WITH", std::process::id().to_string());
    command
}
