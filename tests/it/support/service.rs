//! `flash-sale serve` process of a test.

use std::{
    collections::BTreeMap,
    fs,
    ops::Deref,
    path::Path,
    process::{self, Command, ExitStatus, Stdio},
    time::Duration,
};

use nix::sys::signal::Signal;
use reqwest::Client;
use test_support::{
    metrics::Metrics,
    process::{Owned, output_within},
    service::{Output, announced, clear_environment},
};

use super::{SOON, eventually, front::Front, when};

/// How a service is started: environment variables, and flags of `serve`.
#[derive(Clone, Debug, Default)]
pub(crate) struct Settings {
    pub(crate) variables: BTreeMap<String, String>,
    pub(crate) flags: Vec<String>,
    /// The hard limit of open files, if not that of the test.
    pub(crate) files_max: Option<u32>,
}

impl Settings {
    pub(crate) fn set(&mut self, name: &str, value: &str) {
        self.variables.insert(name.to_owned(), value.to_owned());
    }
}

const STOPS_WITHIN: Duration = Duration::from_secs(10);
const ENDS_WITHIN: Duration = Duration::from_mins(1);

/// The program with an environment of `PATH` and the test's variables only.
pub(crate) fn program() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_flash-sale"));
    clear_environment(&mut command).stdin(Stdio::null());
    command
}

/// What a command printed that ends by itself.
pub(crate) fn ended(command: &mut Command) -> process::Output {
    output_within(command, ENDS_WITHIN).unwrap()
}

/// The same with at most so many open files; `sh` becomes the program.
fn program_with_files(max: u32) -> Command {
    let mut command = Command::new("sh");
    let script = format!("ulimit -n {max} && exec \"$0\" \"$@\"");
    command.args(["-c", &script, env!("CARGO_BIN_EXE_flash-sale")]);
    clear_environment(&mut command).stdin(Stdio::null());
    command
}

#[derive(Debug)]
pub(crate) struct Service {
    front: Front,
    /// The address of the operations listener.
    pub(crate) operations: String,
    pub(crate) process: Owned,
    client: Client,
    stdout: Output,
}

impl Deref for Service {
    type Target = Front;

    fn deref(&self) -> &Front {
        &self.front
    }
}

impl Service {
    pub(crate) async fn start(settings: &Settings, log: &Path, client: Client) -> Self {
        let mut program = settings.files_max.map_or_else(program, program_with_files);
        let child = program
            .arg("serve")
            .args(&settings.flags)
            .envs(&settings.variables)
            .env("LISTEN_ADDR", "127.0.0.1:0")
            .env("OPS_ADDR", "127.0.0.1:0")
            .stdout(Stdio::piped())
            .stderr(
                fs::File::options()
                    .create(true)
                    .append(true)
                    .open(log)
                    .unwrap(),
            )
            .spawn()
            .unwrap();
        let mut process = Owned::new(child);
        let stdout = process.child().stdout.take().unwrap();
        let prefixes = ["listening on ", "operations on "];
        let ([url, operations], stdout) = announced(stdout, prefixes, log).await.unwrap();
        Self {
            front: Front::new(url, client.clone()),
            operations,
            process,
            client,
            stdout,
        }
    }

    pub(crate) fn front(&self) -> Front {
        self.front.clone()
    }

    /// Waits until so many requests are in flight, and a lane that waits for its lock has read its
    /// queue since.
    pub(crate) async fn has_queued(&self, requests: u32) {
        let tries = async || {
            let metrics = self.metrics().await;
            // Reading the metrics is a request too.
            let in_flight = metrics.shows("flash_sale_http_in_flight", &[], requests + 1);
            let tries = metrics.value("flash_sale_lock_acquire_total", &[("outcome", "busy")]);
            tries.filter(|_| in_flight)
        };
        let before = eventually("the requests have arrived", SOON, tries).await;
        eventually("the lane has tried again", SOON, async || {
            when(tries().await? >= before + 3.0)
        })
        .await;
    }

    pub(crate) async fn metrics(&self) -> Metrics {
        let response = self
            .client
            .get(format!("{}/metrics", self.operations))
            .send()
            .await;
        let response = response.unwrap();
        assert_eq!(response.status(), 200);
        Metrics::parse(&response.text().await.unwrap())
    }

    /// Resident memory of the process.
    pub(crate) fn resident_kib(&self) -> usize {
        let status = format!("/proc/{}/status", self.process.pid());
        let status = fs::read_to_string(status).unwrap();
        let line = status.lines().find(|line| line.starts_with("VmRSS"));
        let size = line.unwrap().split_whitespace().nth(1).unwrap();
        size.parse().unwrap()
    }

    /// Sends SIGTERM and returns the exit status.
    pub(crate) async fn stop(&mut self) -> ExitStatus {
        self.process.signal(Signal::SIGTERM).unwrap();
        self.process.exit(STOPS_WITHIN).await.unwrap()
    }

    /// The rest of its standard output, after it ended.
    pub(crate) async fn rest_of_stdout(&mut self) -> Vec<String> {
        let mut rest = Vec::new();
        while let Some(line) = self.stdout.next_line().await.unwrap() {
            rest.push(line);
        }
        rest
    }
}
