//! `serve` from its settings to its exit code; shared by `flash-sale` and `contention`.

use std::{
    io::{self, Write},
    process::ExitCode,
};

use anyhow::Context;
use tokio::signal::unix::{SignalKind, signal};

use super::App;
use crate::{config, telemetry};

/// Serves until it is told to end, and says on standard output where it listens.
///
/// # Errors
/// When it cannot start, a task died, or the stop took longer than `SHUTDOWN_TIMEOUT_MS`.
pub async fn run(config: &config::Serve) -> anyhow::Result<ExitCode> {
    // A connection is a file to the system, and most systems allow a program 1,024 at first.
    if let Err(error) = rlimit::increase_nofile_limit(u64::MAX) {
        drop(writeln!(
            io::stderr(),
            "cannot raise the limit of open files: {error}"
        ));
    }
    telemetry::log(config.log_format, &config.rust_log).context("RUST_LOG: cannot be read")?;
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let app = tokio::select! {
        app = App::start(config) => app?,
        _ = terminate.recv() => return Ok(ExitCode::SUCCESS),
        _ = interrupt.recv() => return Ok(ExitCode::SUCCESS),
    };
    let mut out = io::stdout();
    writeln!(out, "listening on http://{}", app.api)?;
    writeln!(out, "operations on http://{}", app.ops)?;
    out.flush()?;
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
        () = app.tasks.stopped() => {}
    }
    tracing::info!("stopping: finishing what was accepted");
    if app.stop(config.limits.shutdown_timeout_ms).await {
        tracing::info!("stopped");
        Ok(ExitCode::SUCCESS)
    } else {
        anyhow::bail!("a task died, or did not end within SHUTDOWN_TIMEOUT_MS")
    }
}
