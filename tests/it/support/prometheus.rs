//! Prometheus process that scrapes a service of the test.

use std::{
    fs,
    process::{Command, Stdio},
    time::Duration,
};

use reqwest::Client;
use serde_json::{Value, json};
use tempfile::TempDir;

use test_support::{free_port, http, process::Owned};

use super::{eventually, in_seconds};

const STARTS_WITHIN: Duration = Duration::from_secs(20);

/// Scrapes the test's service each second, unlike the intervals of `prometheus.yml`.
pub(crate) fn scraping(target: &str) -> String {
    json!({
        "global": { "scrape_interval": "1s" },
        "scrape_configs": [{
            "job_name": "flash-sale",
            "static_configs": [{ "targets": [target.strip_prefix("http://").unwrap()] }],
        }],
    })
    .to_string()
}

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
            .arg("--enable-feature=exemplar-storage")
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

    /// The exemplars of the last minutes, with the series that they belong to.
    pub(crate) async fn exemplars(&self, series: &str) -> Vec<Value> {
        let query = [
            ("query", series.to_owned()),
            ("start", in_seconds(-600)),
            ("end", in_seconds(60)),
        ];
        let body = self.get("query_exemplars", &query).await.unwrap();
        body["data"].as_array().unwrap().clone()
    }

    async fn get(&self, path: &str, query: &[(&str, String)]) -> Result<Value, String> {
        let request = self.client.get(format!("{}/api/v1/{path}", self.url));
        match request.query(query).send().await {
            Ok(response) => response.json().await.map_err(|error| error.to_string()),
            Err(error) => Err(error.to_string()),
        }
    }

    /// The result of an instant query, or the error message of Prometheus.
    pub(crate) async fn query(&self, query: &str) -> Result<Vec<Value>, String> {
        let body = self.get("query", &[("query", query.to_owned())]).await?;
        match body["data"]["result"].as_array() {
            Some(result) => Ok(result.clone()),
            None => Err(body["error"].to_string()),
        }
    }
}
