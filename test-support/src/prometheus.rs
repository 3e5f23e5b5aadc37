//! A private Prometheus process.

use std::{
    fs,
    process::{Command, Stdio},
    time::Duration,
};

use anyhow::Context;
use reqwest::Client;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::{free_port, http, process::Owned, wait::eventually};

const STARTS_WITHIN: Duration = Duration::from_secs(20);

/// A configuration that scrapes each job's target every second; targets are URLs.
#[must_use]
pub fn scraping(jobs: &[(&str, &str)]) -> String {
    let jobs = jobs.iter().map(|(job, target)| {
        let target = target.strip_prefix("http://").unwrap_or(target);
        json!({ "job_name": job, "static_configs": [{ "targets": [target] }] })
    });
    json!({
        "global": { "scrape_interval": "1s" },
        "scrape_configs": jobs.collect::<Vec<_>>(),
    })
    .to_string()
}

/// Ends with its owner.
#[derive(Debug)]
pub struct Prometheus {
    url: String,
    client: Client,
    _process: Owned,
    _directory: TempDir,
}

impl Prometheus {
    /// Starts it with this configuration; returns when a target was scraped.
    pub async fn start(config: &str) -> anyhow::Result<Self> {
        let directory = TempDir::new()?;
        let file = directory.path().join("prometheus.yml");
        fs::write(&file, config)?;
        let address = format!("127.0.0.1:{}", free_port()?);
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
            .context("prometheus is missing: run ./scripts/test")?;
        let prometheus = Self {
            url: format!("http://{address}"),
            client: http::client()?,
            _process: Owned::new(child),
            _directory: directory,
        };
        eventually("Prometheus scrapes a target", STARTS_WITHIN, async || {
            let up = prometheus.query("up == 1").await.ok()?;
            (!up.is_empty()).then_some(())
        })
        .await?;
        Ok(prometheus)
    }

    /// The answer of `/api/v1/{path}`.
    pub async fn get(&self, path: &str, query: &[(&str, String)]) -> anyhow::Result<Value> {
        let request = self.client.get(format!("{}/api/v1/{path}", self.url));
        let body = request.query(query).send().await?.text().await?;
        Ok(serde_json::from_str(&body)?)
    }

    /// The result of an instant query.
    ///
    /// # Errors
    /// Also when Prometheus refuses the query, with its message.
    pub async fn query(&self, query: &str) -> anyhow::Result<Vec<Value>> {
        let body = self.get("query", &[("query", query.to_owned())]).await?;
        let result = body.pointer("/data/result").and_then(Value::as_array);
        result.cloned().with_context(|| body.to_string())
    }
}
