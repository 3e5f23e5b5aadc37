//! The hidden command `serve`: this program as the service that it tests.

use std::{ffi::OsString, process::ExitCode};

use flash_sale::{
    app,
    config::{self, Command},
};

pub(crate) const COMMAND: &str = "serve";

/// Serves; settings come from the environment alone.
#[tokio::main]
pub(crate) async fn run() -> anyhow::Result<ExitCode> {
    // Both crypto providers are in the tree, so rustls must be given the one to use.
    drop(rustls::crypto::ring::default_provider().install_default());
    let cli = match config::parse(["flash-sale", "serve"].map(OsString::from).into_iter()) {
        Ok(cli) => cli,
        Err(refusal) => return Ok(refusal.tell()),
    };
    let Command::Serve(config) = cli.command else {
        return Ok(ExitCode::FAILURE);
    };
    app::run(&config).await
}
