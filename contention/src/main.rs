//! `contention`: load runner that sends scripted buyers to the service, checks every promise, reports the result.
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
/// Scenario files.
mod scenario;
/// The command line.
mod args;
/// The result of a run, as a table, a page, JSON and a live view.
mod report;
/// The users of a run and their tokens.
mod tokens;
/// Samples: each request with its answer.
mod record;
/// The run in steps of equal length.
mod timeline;
/// Offers products over the API, and reads their rows.
mod shop;
/// The nodes' metrics.
mod figures;
/// The baseline designs, and helpers of `scripts/bench`.
mod designs;
/// Starts the service under test, or finds an existing one.
mod service;
/// Sends the load.
mod driver;
/// Injects faults.
mod faults;
/// Collects what a run left behind.
mod evidence;
/// Checks every promise against the evidence.
mod checks;
/// Figures of the report.
mod summary;
/// What the runner itself uses.
mod usage;
/// Figures that only some scenarios have.
mod notes;
/// Samples and shows a run while it goes on.
mod watch;
/// One run, from an empty folder to its report.
mod run;
/// From the command line to runs.
mod plan;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// As clap ends on a command line that it cannot read.
const USAGE: u8 = 2;
/// The exit code that a shell reports for an interrupted program.
const INTERRUPTED: u8 = 130;

/// The hidden commands make this program the service that it tests, or a baseline design.
fn main() -> ExitCode {
    let first = std::env::args().nth(1).unwrap_or_default();
    match first.as_str() {
        service::serve::COMMAND => service::serve::run().unwrap_or_else(|error| fail(&error, 1)),
        designs::COMMAND => match designs::run(std::env::args_os().skip(1)) {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => fail(&error, 1),
        },
        _ => test(),
    }
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
    let (Ok(mut interrupt), Ok(mut terminate)) = (
        signal(SignalKind::interrupt()),
        signal(SignalKind::terminate()),
    ) else {
        return ExitCode::FAILURE;
    };
    // A connection is a file to the system, and most systems allow a program 1,024 at first.
    drop(rlimit::increase_nofile_limit(u64::MAX));
    // Whatever ends the run, all that it started is dropped, and ends with it.
    tokio::select! {
        ended = plan.execute(&args) => match ended {
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
