//! `contention`: sends a scripted crowd against the service, checks every promise, shows the result.
//!
//! The way through it: `args` and `scenario` say what is to happen, `plan` makes runs of it, `run`
//! does one: `service` starts what is tested, `shop` offers products, `driver` sends the load,
//! `faults` makes trouble, `watch` looks on, `aftermath` asks what became of it, `checks` judges
//! and `report` tells.

use std::{
    io::{self, Write},
    process::ExitCode,
};

use clap::Parser;
use tokio::signal::unix::{SignalKind, signal};

use self::args::Args;

mod aftermath;
mod args;
mod checks;
mod client;
mod designs;
mod driver;
mod faults;
mod figures;
mod notes;
mod plan;
mod record;
mod report;
mod run;
mod scenario;
mod service;
mod shop;
mod summary;
mod timeline;
mod tokens;
mod usage;
mod watch;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// As clap ends on a command line that it cannot read.
const USAGE: u8 = 2;
/// As a shell tells of a program that was interrupted.
const INTERRUPTED: u8 = 130;

/// The hidden commands make this program the service that it tests, or a baseline design.
fn main() -> ExitCode {
    let first = std::env::args().nth(1).unwrap_or_default();
    match first.as_str() {
        service::serve::COMMAND => service::serve::run().unwrap_or_else(|error| tell(&error, 1)),
        designs::COMMAND => match designs::run(std::env::args_os().skip(1)) {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => tell(&error, 1),
        },
        _ => test(),
    }
}

#[tokio::main]
async fn test() -> ExitCode {
    let args = Args::parse();
    let plan = match plan::Plan::new(&args) {
        Ok(plan) => plan,
        Err(error) => return tell(&error, USAGE),
    };
    if args.list {
        return plan::list().unwrap_or_else(|error| tell(&error, 1));
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
            Err(error) => tell(&error, 1),
        },
        _ = interrupt.recv() => ExitCode::from(INTERRUPTED),
        _ = terminate.recv() => ExitCode::from(INTERRUPTED),
    }
}

fn tell(error: &anyhow::Error, code: u8) -> ExitCode {
    drop(writeln!(io::stderr(), "error: {error:#}"));
    ExitCode::from(code)
}
