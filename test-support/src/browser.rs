//! Headless browser that renders a page and its scripts, or is driven by a test.

use std::{env, fs, path::PathBuf, process::Stdio, time::Duration};

use anyhow::{Context, ensure};
use serde_json::Value;
use tempfile::TempDir;
use tokio::{process::Command, time::timeout};

pub mod driven;

const PROGRAMS: [&str; 4] = ["chromium", "chromium-browser", "google-chrome", "chrome"];
const OPTIONS: [&str; 10] = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-dev-shm-usage",
    "--no-proxy-server",
];
const RENDERS_WITHIN: Duration = Duration::from_mins(1);

/// The result of opening a page.
#[derive(Debug)]
pub struct Visit {
    /// The document after ten seconds of its own time, as HTML.
    pub page: String,
    /// Its console messages, a line each.
    pub console: Vec<String>,
    /// Addresses that the page requested, without files and without the browser's own requests.
    pub requests: Vec<String>,
}

/// The page's document after ten seconds of its own time, as HTML.
pub async fn render(url: &str) -> anyhow::Result<String> {
    Ok(visit(url).await?.page)
}

pub async fn visit(url: &str) -> anyhow::Result<Visit> {
    let profile = TempDir::new()?;
    let net_log = profile.path().join("net.json");
    let browser = Command::new(program()?)
        .args(OPTIONS)
        .arg("--virtual-time-budget=10000")
        .arg(format!("--user-data-dir={}", profile.path().display()))
        .arg(format!("--log-net-log={}", net_log.display()))
        .args(["--enable-logging=stderr", "--dump-dom", url])
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .output();
    let output = timeout(RENDERS_WITHIN, browser)
        .await
        .context("the browser did not render the page in time")??;
    ensure!(output.status.success(), "the browser: {}", output.status);
    let printed = String::from_utf8_lossy(&output.stderr);
    let console = printed.lines().filter(|line| line.contains("CONSOLE"));
    Ok(Visit {
        page: String::from_utf8(output.stdout)?,
        console: console.map(str::to_owned).collect(),
        requests: requests(&fs::read(net_log)?)?,
    })
}

/// The browser also sends requests of its own, such as update checks; only a page's requests have
/// an origin.
fn requests(net_log: &[u8]) -> anyhow::Result<Vec<String>> {
    let log: Value = serde_json::from_slice(net_log)?;
    let events = log.get("events").and_then(Value::as_array);
    let mut requests = Vec::new();
    for event in events.context("the browser logged no events")? {
        let parameter = |name| event.get("params")?.get(name)?.as_str();
        if parameter("initiator").is_some_and(|by| by != "not an origin") {
            requests.push(parameter("url").unwrap_or_default().to_owned());
        }
    }
    Ok(requests)
}

fn program() -> anyhow::Result<PathBuf> {
    let path = env::var_os("PATH").unwrap_or_default();
    let mut found = env::split_paths(&path)
        .flat_map(|folder| PROGRAMS.map(|program| folder.join(program)))
        .chain([PathBuf::from(
            "/Applications/Chromium.app/Contents/MacOS/Chromium",
        )])
        .filter(|program| program.is_file());
    found
        .next()
        .context("chromium is not installed: run ./scripts/test")
}
