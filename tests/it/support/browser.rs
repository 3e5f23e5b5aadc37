//! A headless browser that shows what a page has become after its scripts ran.

use std::{env, fs, path::PathBuf, process::Stdio, time::Duration};

use serde_json::Value;
use tempfile::TempDir;
use tokio::{process::Command, time::timeout};

const PROGRAMS: [&str; 4] = ["chromium", "chromium-browser", "google-chrome", "chrome"];
const RENDERS_WITHIN: Duration = Duration::from_mins(1);

/// What a page did when it was opened.
#[derive(Debug)]
pub(crate) struct Visit {
    /// The document after ten seconds of its own time, as HTML.
    pub(crate) page: String,
    /// What it said on the console, a line each.
    pub(crate) console: Vec<String>,
    /// Addresses that the page asked for, without files and without the browser's own requests.
    pub(crate) requests: Vec<String>,
}

/// The page's document after ten seconds of its own time, as HTML.
pub(crate) async fn render(url: &str) -> String {
    visit(url).await.page
}

pub(crate) async fn visit(url: &str) -> Visit {
    let profile = TempDir::new().unwrap();
    let net_log = profile.path().join("net.json");
    let browser = Command::new(program())
        .args([
            "--headless",
            "--no-sandbox",
            "--disable-gpu",
            "--disable-quic",
            "--no-first-run",
        ])
        .args([
            "--disable-background-networking",
            "--disable-component-update",
            "--disable-sync",
        ])
        .args([
            "--disable-dev-shm-usage",
            "--no-proxy-server",
            "--virtual-time-budget=10000",
        ])
        .arg(format!("--user-data-dir={}", profile.path().display()))
        .arg(format!("--log-net-log={}", net_log.display()))
        .args(["--enable-logging=stderr", "--dump-dom", url])
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .output();
    let output = timeout(RENDERS_WITHIN, browser)
        .await
        .expect("the page in time")
        .unwrap();
    assert!(output.status.success(), "{:?}", output.status);
    let said = String::from_utf8_lossy(&output.stderr);
    let console = said.lines().filter(|line| line.contains("CONSOLE"));
    Visit {
        page: String::from_utf8(output.stdout).unwrap(),
        console: console.map(str::to_owned).collect(),
        requests: requests(&fs::read(net_log).unwrap()),
    }
}

/// The browser looks for updates and the like by itself; only a page's requests have an origin.
fn requests(net_log: &[u8]) -> Vec<String> {
    let log: Value = serde_json::from_slice(net_log).unwrap();
    let mut requests = Vec::new();
    for event in log["events"].as_array().unwrap() {
        let (by, url) = (&event["params"]["initiator"], &event["params"]["url"]);
        if by.as_str().is_some_and(|by| by != "not an origin") {
            requests.push(url.as_str().unwrap_or_default().to_owned());
        }
    }
    requests
}

fn program() -> PathBuf {
    let path = env::var_os("PATH").unwrap();
    let mut found = env::split_paths(&path)
        .flat_map(|folder| PROGRAMS.map(|program| folder.join(program)))
        .chain([PathBuf::from(
            "/Applications/Chromium.app/Contents/MacOS/Chromium",
        )])
        .filter(|program| program.is_file());
    found
        .next()
        .expect("chromium is installed: run ./scripts/test")
}
