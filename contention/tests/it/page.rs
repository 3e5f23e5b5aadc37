//! The HTML page of `contention`: shows the figures of the JSON file and opens offline.

use std::{fs, path::Path, process::Stdio};

use serde_json::Value;
use tempfile::TempDir;
use test_support::browser::Browser;
use tokio::process::Command;

/// Runs a small scenario and returns its JSON and the page's address.
async fn run(folder: &Path) -> (Value, String) {
    let (json, html) = (folder.join("run.json"), folder.join("run.html"));
    let output = Command::new(env!("CARGO_BIN_EXE_contention"))
        .args(["single-unit", "--users", "50"])
        .arg("--json")
        .arg(&json)
        .arg("--html")
        .arg(&html)
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .output()
        .await
        .unwrap();
    assert!(output.status.success(), "{output:?}");
    let report = serde_json::from_slice(&fs::read(json).unwrap()).unwrap();
    (report, format!("file://{}", html.display()))
}

#[tokio::test]
async fn the_page_of_a_run_shows_its_figures_and_requests_nothing() {
    let folder = TempDir::new().unwrap();
    let (report, address) = run(folder.path()).await;

    let browser = Browser::start().unwrap();
    let tab = browser.open(&address).await.unwrap();
    let page = tab.run("document.documentElement.outerHTML").await.unwrap();
    let page = page.as_str().unwrap();

    assert_eq!(browser.messages().await.unwrap(), [""; 0]);
    assert_eq!(browser.requests().await.unwrap(), [""; 0]);
    assert_eq!(report["held"], true, "{report}");
    let run = &report["runs"][0];
    assert_eq!(run["offered"], 50, "{run}");
    let units = &run["units"];
    let mut shown = vec![
        "Every promise held".to_owned(),
        format!("<strong>{}</strong>", units["sold"]),
        format!("sold of {} possible", units["possible"]),
        format!("seed {}", run["seed"]),
    ];
    for answer in run["answers"].as_array().unwrap() {
        let (code, count) = (answer["code"].as_str().unwrap(), &answer["count"]);
        shown.push(format!("{code} {count}"));
    }
    for check in run["checks"].as_array().unwrap() {
        shown.push(format!("<b>{}</b>", check["promise"].as_str().unwrap()));
    }
    for part in shown {
        assert!(page.contains(&part), "{part:?} is not on the page");
    }
    for picture in [
        "Latency by percentile",
        "Answers over time",
        "Latency over time",
    ] {
        assert!(
            page.contains(&format!("aria-label=\"{picture}")),
            "no {picture}"
        );
    }
    assert!(!page.contains("<script"), "it works without scripts");
}

#[tokio::test]
async fn console_messages_and_requests_of_a_page_are_detected() {
    let folder = TempDir::new().unwrap();
    let page = folder.path().join("planted.html");
    let text = r#"<!doctype html><script>console.error("planted")</script>
        <img src="http://127.0.0.1:9/x.png">"#;
    fs::write(&page, text).unwrap();

    let browser = Browser::start().unwrap();
    let address = format!("file://{}", page.display());
    browser.open(&address).await.unwrap();

    let messages = browser.messages().await.unwrap();
    assert!(messages.iter().any(|line| line.contains("planted")));
    let requests = browser.requests().await.unwrap();
    assert_eq!(requests, ["http://127.0.0.1:9/x.png"]);
    let errors = browser.errors().await.unwrap();
    assert_eq!(errors.len(), 1, "{errors:?}");
}
