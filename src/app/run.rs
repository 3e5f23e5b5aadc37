//! Runs `serve`: start, signals, stop, exit code; shared by `flash-sale` and `contention`.

use std::{
    io::{self, Write},
    process::ExitCode,
};

use anyhow::Context;
use tokio::signal::unix::{SignalKind, signal};

use super::{App, files};
use crate::{config, telemetry};

/// Serves until SIGTERM or SIGINT, and prints its addresses on standard output.
///
/// # Errors
/// When the service cannot start, a task panicked, or the stop took longer than
/// `SHUTDOWN_TIMEOUT_MS`.
pub async fn run(config: &config::Serve) -> anyhow::Result<ExitCode> {
    let limit = files::raise_limit();
    telemetry::log(config.log_format, &config.rust_log).context("RUST_LOG: cannot be read")?;
    config.check()?;
    let files::Fitted { config, warning } = files::fit(config, limit)?;
    let config = &config;
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let app = tokio::select! {
        app = App::start(config) => app?,
        _ = terminate.recv() => return Ok(ExitCode::SUCCESS),
        _ = interrupt.recv() => return Ok(ExitCode::SUCCESS),
    };
    if let Some(warning) = warning {
        tracing::warn!("{warning}");
    }
    let mut out = io::stdout();
    writeln!(out, "listening on http://{}", app.api)?;
    writeln!(out, "operations on http://{}", app.ops)?;
    out.flush()?;
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
        () = app.tasks.stopped() => {}
    }
    app.tasks.drain();
    let delay = config.limits.shutdown_delay_ms;
    if !delay.is_zero() {
        tracing::info!("draining: not ready, and still serving for {delay:?}");
        // A second signal ends the wait, and so does a task that panics.
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
            _ = app.tasks.pause(delay) => {}
        }
    }
    tracing::info!("stopping: finishing accepted requests");
    if app.stop(config.limits.shutdown_timeout_ms).await {
        tracing::info!("stopped");
        Ok(ExitCode::SUCCESS)
    } else {
        anyhow::bail!("a task panicked, or did not end within SHUTDOWN_TIMEOUT_MS")
    }
}
