//! The hidden commands: this program as the service that it tests.

use std::{ffi::OsString, process::ExitCode};

use flash_sale::{
    app,
    config::{self, Command},
};

use super::naive;

/// The service as it is.
pub(crate) const LANES: &str = "serve";
/// The baseline that it is compared with.
pub(crate) const NAIVE: &str = "serve-naive";

/// Runs a hidden command, if this is one; settings come from the environment alone.
pub(crate) async fn run(command: &str) -> Option<anyhow::Result<ExitCode>> {
    if ![LANES, NAIVE].contains(&command) {
        return None;
    }
    // Both crypto providers are in the tree, so rustls must be told which to use.
    drop(rustls::crypto::ring::default_provider().install_default());
    let cli = match config::parse(["flash-sale", "serve"].map(OsString::from).into_iter()) {
        Ok(cli) => cli,
        Err(refusal) => return Some(Ok(refusal.tell())),
    };
    let Command::Serve(config) = cli.command else {
        return Some(Ok(ExitCode::FAILURE));
    };
    Some(match command {
        NAIVE => naive::run(&config).await,
        _ => app::run(&config).await,
    })
}
