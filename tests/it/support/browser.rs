//! A headless browser that shows what a page has become after its scripts ran.

use std::{env, path::PathBuf, process::Stdio, time::Duration};

use tempfile::TempDir;
use tokio::{process::Command, time::timeout};

const PROGRAMS: [&str; 4] = ["chromium", "chromium-browser", "google-chrome", "chrome"];
const RENDERS_WITHIN: Duration = Duration::from_mins(1);

/// The page's document after ten seconds of its own time, as HTML.
pub(crate) async fn render(url: &str) -> String {
    let profile = TempDir::new().unwrap();
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
        .args(["--dump-dom", url])
        .stdin(Stdio::null())
        .stderr(Stdio::null())
        .kill_on_drop(true)
        .output();
    let output = timeout(RENDERS_WITHIN, browser)
        .await
        .expect("the page in time")
        .unwrap();
    assert!(output.status.success(), "{:?}", output.status);
    String::from_utf8(output.stdout).unwrap()
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
