//! Alertmanager process with the configuration that the project ships.

use std::process::{Command, Stdio};

use reqwest::Client;
use serde_json::Value;
use tempfile::TempDir;

use test_support::{free_port, http, process::Owned};

use super::{SOON, eventually, repository, when};

/// Debian's name of the program, and everybody else's.
const PROGRAMS: [&str; 2] = ["prometheus-alertmanager", "alertmanager"];

#[derive(Debug)]
pub(crate) struct Alertmanager {
    /// Host and port.
    pub(crate) address: String,
    client: Client,
    process: Owned,
    _directory: TempDir,
}

impl Alertmanager {
    /// Returns when it is ready.
    pub(crate) async fn start() -> Self {
        let directory = TempDir::new().unwrap();
        let address = format!("127.0.0.1:{}", free_port().unwrap());
        let start = |program: &&str| {
            Command::new(program)
                .arg(format!(
                    "--config.file={}",
                    repository("prometheus/alertmanager.yml").display()
                ))
                .arg(format!("--storage.path={}", directory.path().display()))
                .arg(format!("--web.listen-address={address}"))
                // No cluster, hence no second port.
                .arg("--cluster.listen-address=")
                .stdin(Stdio::null())
                .stdout(Stdio::null())
                .stderr(Stdio::null())
                .spawn()
                .ok()
        };
        let child = PROGRAMS.iter().find_map(start);
        let child = child.expect("alertmanager is installed: run ./scripts/test");
        let alertmanager = Self {
            client: http::client().unwrap(),
            process: Owned::new(child),
            address,
            _directory: directory,
        };
        eventually("Alertmanager is ready", SOON, async || {
            let url = format!("http://{}/-/ready", alertmanager.address);
            let ready = alertmanager.client.get(url).send().await;
            when(ready.is_ok_and(|answer| answer.status().is_success()))
        })
        .await;
        alertmanager
    }

    /// Sends alerts, as Prometheus does.
    pub(crate) async fn post(&self, alerts: &Value) {
        let url = format!("http://{}/api/v2/alerts", self.address);
        let call = self.client.post(url).json(alerts).send();
        call.await.unwrap().error_for_status().unwrap();
    }

    pub(crate) fn kill(&mut self) {
        self.process.kill();
    }
}
