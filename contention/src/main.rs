//! `contention`: load runner that sends scripted buyers to the service, checks every promise and
//! reports the result.
//!
//! The modules in reading order; a file uses only what stands above it (`tests/tidy.rs` checks).

use std::{
    io::{self, Write},
    process::ExitCode,
};

use clap::Parser;
use tokio::signal::unix::{SignalKind, signal};

use self::args::Args;

/// HTTP/1.1 connections of the load.
mod client;
/// Judges whether some order of the operations explains every answer.
mod history;
/// Scenario files.
mod scenario;
/// The command line.
mod args;
/// The result of a run as a table, an HTML page, JSON and a live view.
mod report;
/// The users of a run and their tokens.
mod tokens;
/// Samples: each request with its answer.
mod record;
/// Serves the runs' own metrics to Prometheus.
mod exporter;
/// Answers, stock and latency of a run in steps of equal length.
mod timeline;
/// Creates the products of a run over the API, and reads their rows.
mod shop;
/// Reads the metrics of the nodes.
mod figures;
/// The baseline designs and helpers of `scripts/bench`.
mod designs;
/// Starts the service under test, or uses an existing one.
mod service;
/// Sends the load.
mod driver;
/// Injects faults.
mod faults;
/// Collects the evidence of a run: answers and database rows.
mod evidence;
/// Checks every promise against the evidence.
mod checks;
/// Figures of the report.
mod summary;
/// CPU and memory of the runner itself.
mod usage;
/// Additional figures of some scenarios.
mod notes;
/// Samples and shows a run in progress.
mod watch;
/// Executes one run and makes its report.
mod run;
/// Plans the runs of a command line and executes them.
mod plan;
/// Random faults, and a judge of what the clients were answered.
mod chaos;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// The exit code of clap for a wrong command line.
const USAGE: u8 = 2;
/// The exit code that a shell reports for an interrupted program.
const INTERRUPTED: u8 = 130;

/// The hidden commands run the service under test or a baseline design.
fn main() -> ExitCode {
    let first = std::env::args().nth(1).unwrap_or_default();
    match first.as_str() {
        service::serve::COMMAND => service::serve::run().unwrap_or_else(|error| fail(&error, 1)),
        designs::COMMAND => match designs::run(std::env::args_os().skip(1)) {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => fail(&error, 1),
        },
        chaos::COMMAND => break_things(),
        _ => test(),
    }
}

#[tokio::main]
async fn break_things() -> ExitCode {
    let args = chaos::Args::parse_from(std::env::args_os().skip(1));
    drop(rlimit::increase_nofile_limit(u64::MAX));
    end(Box::pin(chaos::run(&args))).await
}

#[tokio::main]
async fn test() -> ExitCode {
    let args = Args::parse();
    let plan = match plan::Plan::new(&args) {
        Ok(plan) => plan,
        Err(error) => return fail(&error, USAGE),
    };
    if args.list {
        return plan::list().unwrap_or_else(|error| fail(&error, 1));
    }
    // Each connection needs a file descriptor, and most systems allow 1,024 of them by default.
    drop(rlimit::increase_nofile_limit(u64::MAX));
    end(plan.execute(&args)).await
}

/// The exit code of a run, or of its interruption.
async fn end(run: impl Future<Output = anyhow::Result<bool>>) -> ExitCode {
    let (Ok(mut interrupt), Ok(mut terminate)) = (
        signal(SignalKind::interrupt()),
        signal(SignalKind::terminate()),
    ) else {
        return ExitCode::FAILURE;
    };
    // Dropping the run's future ends every process that it started.
    tokio::select! {
        ended = run => match ended {
            Ok(true) => ExitCode::SUCCESS,
            Ok(false) => ExitCode::FAILURE,
            Err(error) => fail(&error, 1),
        },
        _ = interrupt.recv() => ExitCode::from(INTERRUPTED),
        _ = terminate.recv() => ExitCode::from(INTERRUPTED),
    }
}

fn fail(error: &anyhow::Error, code: u8) -> ExitCode {
    drop(writeln!(io::stderr(), "error: {error:#}"));
    ExitCode::from(code)
}
