//! The command line: parse, run the command, exit code.

use std::{
    io::{self, Write},
    process::ExitCode,
};

use anyhow::Context;
use flash_sale::{
    api::auth::{self, Role},
    app::{self, App},
    config::{self, Command},
    store::Store,
    telemetry, verify,
};
use tokio::signal::unix::{SignalKind, signal};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    let cli = match config::parse(std::env::args_os()) {
        Ok(cli) => cli,
        Err(refusal) => return refusal.tell(),
    };
    match run(cli.command) {
        Ok(code) => code,
        Err(error) => {
            // One line: the setting or the step, and the causes behind it.
            drop(writeln!(io::stderr(), "error: {error:#}"));
            ExitCode::FAILURE
        }
    }
}

#[tokio::main]
async fn run(command: Command) -> anyhow::Result<ExitCode> {
    // Both crypto providers are in the tree, so rustls must be told which to use.
    drop(rustls::crypto::ring::default_provider().install_default());
    match command {
        Command::Serve(config) => serve(&config).await,
        Command::Migrate(config) => {
            app::open_store(&config).await?.close().await;
            say("the schema is up to date")
        }
        Command::Token(config) => token(&config),
        Command::Verify(config) => check(&config).await,
    }
}

async fn serve(config: &config::Serve) -> anyhow::Result<ExitCode> {
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

fn token(config: &config::Token) -> anyhow::Result<ExitCode> {
    let secret = app::auth_secret(&config.auth, &config.data_dir)?.ok_or(auth::Error::NoSecret)?;
    let role = if config.admin {
        Role::Admin
    } else {
        Role::Buyer
    };
    say(&auth::sign(&secret, &config.user, role, config.ttl)?)
}

async fn check(config: &config::Database) -> anyhow::Result<ExitCode> {
    let store: Store = app::connect_store(config).await?;
    let mut out = io::stdout();
    let mut held = true;
    for invariant in verify::INVARIANTS {
        let breaches = invariant.breaches(&store).await?;
        let mark = if breaches.is_empty() {
            "ok    "
        } else {
            "BROKEN"
        };
        writeln!(out, "{mark}  {}", invariant.name)?;
        for breach in &breaches {
            writeln!(out, "        {}: {}", breach.subject, breach.detail)?;
        }
        held &= breaches.is_empty();
    }
    store.close().await;
    Ok(if held {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

fn say(line: &str) -> anyhow::Result<ExitCode> {
    writeln!(io::stdout(), "{line}")?;
    Ok(ExitCode::SUCCESS)
}
