//! The hidden command `serve`: runs the service inside this program.

use std::{ffi::OsString, process::ExitCode};

use flash_sale::{
    app,
    config::{self, Command},
    telemetry::output,
};

pub(crate) const COMMAND: &str = "serve";

/// Serves with settings from the environment only.
#[tokio::main]
pub(crate) async fn run() -> anyhow::Result<ExitCode> {
    // Two crypto providers are linked, so rustls needs an explicit default.
    drop(rustls::crypto::ring::default_provider().install_default());
    let cli = match config::parse(["flash-sale", "serve"].map(OsString::from).into_iter()) {
        Ok(cli) => cli,
        Err(refusal) => return Ok(refusal.tell()),
    };
    let Command::Serve(config) = cli.command else {
        return Ok(ExitCode::FAILURE);
    };
    let code = app::run(&config).await;
    output::flush(output::LAST_WITHIN);
    code
}
