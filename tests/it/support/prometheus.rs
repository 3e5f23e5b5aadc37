//! Prometheus process that scrapes a service of the test.

use std::{
    fs,
    process::{Command, Stdio},
    time::Duration,
};

use reqwest::Client;
use serde_json::Value;
use tempfile::TempDir;

use test_support::{free_port, http, process::Owned};

use super::eventually;

const STARTS_WITHIN: Duration = Duration::from_secs(20);

#[derive(Debug)]
pub(crate) struct Prometheus {
    url: String,
    client: Client,
    _process: Owned,
    _directory: TempDir,
}

impl Prometheus {
    /// Starts it with this configuration; returns when its first target was scraped.
    pub(crate) async fn start(config: &str) -> Self {
        let directory = TempDir::new().unwrap();
        let file = directory.path().join("prometheus.yml");
        fs::write(&file, config).unwrap();
        let address = format!("127.0.0.1:{}", free_port().unwrap());
        let child = Command::new("prometheus")
            .arg(format!("--config.file={}", file.display()))
            .arg(format!(
                "--storage.tsdb.path={}",
                directory.path().join("data").display()
            ))
            .arg(format!("--web.listen-address={address}"))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("prometheus is installed: run ./scripts/test");
        let prometheus = Self {
            url: format!("http://{address}"),
            client: http::client().unwrap(),
            _process: Owned::new(child),
            _directory: directory,
        };
        eventually(
            "Prometheus scrapes the service",
            STARTS_WITHIN,
            async || {
                let up = prometheus.query("up == 1").await.ok()?;
                (!up.is_empty()).then_some(())
            },
        )
        .await;
        prometheus
    }

    /// The result of an instant query, or the error message of Prometheus.
    pub(crate) async fn query(&self, query: &str) -> Result<Vec<Value>, String> {
        let request = self.client.get(format!("{}/api/v1/query", self.url));
        let response = request.query(&[("query", query)]).send().await;
        let body: Value = match response {
            Ok(response) => response.json().await.map_err(|error| error.to_string())?,
            Err(error) => return Err(error.to_string()),
        };
        match body["data"]["result"].as_array() {
            Some(result) => Ok(result.clone()),
            None => Err(body["error"].to_string()),
        }
    }
}
