//! Runs `contention` and reads its report.

use std::process::{Output, Stdio};

use serde_json::Value;
use tempfile::TempDir;
use tokio::process::Command;

/// The result of a run.
#[derive(Debug)]
pub(crate) struct Outcome {
    pub(crate) code: Option<i32>,
    pub(crate) stderr: String,
    /// Null if the run wrote no report.
    pub(crate) report: Value,
}

pub(crate) fn program_file() -> &'static str {
    env!("CARGO_BIN_EXE_contention")
}

pub(crate) fn program() -> Command {
    let mut command = Command::new(program_file());
    command.stdin(Stdio::null()).kill_on_drop(true);
    command
}

pub(crate) async fn run(arguments: &[&str]) -> Outcome {
    let folder = TempDir::new().unwrap();
    let json = folder.path().join("run.json");
    let Output { status, stderr, .. } = program()
        .args(arguments)
        .arg("--json")
        .arg(&json)
        .output()
        .await
        .unwrap();
    let report = std::fs::read(json).unwrap_or_default();
    Outcome {
        code: status.code(),
        stderr: String::from_utf8(stderr).unwrap(),
        report: serde_json::from_slice(&report).unwrap_or_default(),
    }
}

impl Outcome {
    #[track_caller]
    pub(crate) fn held(&self) -> &[Value] {
        assert_eq!(
            self.code,
            Some(0),
            "{} {:#}",
            self.stderr,
            self.report["runs"]
        );
        assert_eq!(self.report["held"], true);
        self.report["runs"].as_array().unwrap()
    }

    /// Every breach on a line, after its promise.
    #[track_caller]
    pub(crate) fn breaches(&self) -> String {
        assert_eq!(self.code, Some(1), "{} {}", self.stderr, self.report);
        assert_eq!(self.report["held"], false);
        let runs = self.report["runs"].as_array().unwrap();
        let checks = runs
            .iter()
            .flat_map(|run| run["checks"].as_array().unwrap());
        let mut lines = Vec::new();
        for check in checks.filter(|check| check["held"] == false) {
            let promise = check["promise"].as_str().unwrap();
            for breach in check["breaches"].as_array().unwrap() {
                lines.push(format!("{promise}: {}", breach.as_str().unwrap()));
            }
        }
        lines.join("\n")
    }
}

/// The number of answers with this code.
pub(crate) fn answered(run: &Value, code: &str) -> u64 {
    let answers = run["answers"].as_array().unwrap();
    let of_code = answers.iter().filter(|answer| answer["code"] == code);
    of_code
        .map(|answer| answer["count"].as_u64().unwrap())
        .sum()
}
