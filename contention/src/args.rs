//! The command line.

use std::{net::SocketAddr, path::PathBuf};

use clap::{Parser, ValueHint};
use flash_sale::domain::Secret;

use crate::scenario::size::Size;

/// Sends scripted buyers to the service, checks every promise afterwards and shows the result.
///
/// Without a target it starts its own service with SQLite and private Redis nodes in a temporary
/// folder. The exit code is 0 only if every check held.
#[expect(clippy::struct_excessive_bools, reason = "command-line switches")]
#[derive(Debug, Parser)]
#[command(name = "contention", version)]
pub(crate) struct Args {
    /// Names of scenarios (see `--list`), `all`, or paths of your own scenario files
    #[arg(value_name = "SCENARIO", value_hint = ValueHint::FilePath, required_unless_present = "list")]
    pub(crate) scenarios: Vec<String>,

    /// List every scenario with the question that it answers
    #[arg(long)]
    pub(crate) list: bool,

    /// Service processes to start; with several numbers each scenario runs once with each
    #[arg(long, value_name = "N,…", value_delimiter = ',', value_parser = clap::value_parser!(u32).range(1..=9))]
    pub(crate) nodes: Vec<u32>,

    /// Start a private PostgreSQL for the service instead of SQLite
    #[arg(long, conflicts_with_all = ["database_url", "target"])]
    pub(crate) postgres: bool,

    /// Database for the started service instead of a private one
    #[arg(long, value_name = "URL", conflicts_with = "target")]
    pub(crate) database_url: Option<Secret>,

    /// Redis lock nodes for the started service instead of private ones
    #[arg(
        long,
        value_name = "URL,…",
        value_delimiter = ',',
        conflicts_with = "target"
    )]
    pub(crate) redis_lock_urls: Vec<Secret>,

    /// Existing service to send the load to; repeat it for several nodes. Only products that the
    /// run creates are changed, and no fault is injected
    #[arg(long, value_name = "URL,…", value_delimiter = ',')]
    pub(crate) target: Vec<String>,

    /// Secret for signing tokens that the target accepts; the first one of a list
    #[arg(
        long,
        env = "AUTH_SECRET",
        hide_env_values = true,
        value_parser = first_secret,
        value_name = "AUTH_SECRET"
    )]
    pub(crate) auth_secret: Option<Secret>,

    /// File of tokens for the target, one per line: first an admin's, then buyers'
    #[arg(long, value_name = "FILE", requires = "target")]
    pub(crate) tokens: Option<PathBuf>,

    /// Write the full report as JSON to this file
    #[arg(long, value_name = "FILE")]
    pub(crate) json: Option<PathBuf>,

    /// Write an HTML page with charts to this file; it opens offline
    #[arg(long, value_name = "FILE")]
    pub(crate) html: Option<PathBuf>,

    /// Show a live view of the run in the terminal
    #[arg(long)]
    pub(crate) visual: bool,

    /// Serve the runs' own metrics to Prometheus on this address, for the dashboard "Contention lab"
    #[arg(long, value_name = "IP:PORT")]
    pub(crate) metrics_addr: Option<SocketAddr>,

    /// Seconds to wait at most until Prometheus has read the metrics, before each load and after the
    /// last run; longer than its scrape interval
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(0..=300))]
    pub(crate) metrics_linger: u32,

    /// Users instead of the scenario's own number
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    pub(crate) users: Option<u32>,

    /// Units of each product instead of the scenario's own number
    #[arg(long, value_parser = clap::value_parser!(u32).range(0..=1_000_000_000))]
    pub(crate) stock: Option<u32>,

    /// Units per order instead of the scenario's own number
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub(crate) quantity: Option<u32>,

    /// Seconds of load instead of the scenario's own; for scenarios with a fixed length
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..=3_600))]
    pub(crate) seconds: Option<u32>,

    /// Connections instead of the scenario's own; for scenarios that set them
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..=20_000))]
    pub(crate) connections: Option<u32>,

    /// Seed of the random order of requests; the same seed sends the same load
    #[arg(long, default_value_t = 1)]
    pub(crate) seed: u64,

    /// Also run the naive design (a lock per order) and a lane without batches, and print ratios;
    /// for scenarios with back-to-back load
    #[arg(long, conflicts_with = "target")]
    pub(crate) baseline: bool,
}

impl Args {
    pub(crate) fn size(&self) -> Size {
        Size {
            users: self.users,
            stock: self.stock,
            quantity: self.quantity,
            seconds: self.seconds,
            connections: self.connections,
        }
    }
}

/// `AUTH_SECRET` may list several secrets, of which the first one signs.
fn first_secret(text: &str) -> Result<Secret, &'static str> {
    match text.split(',').next().map(str::trim) {
        Some("") | None => Err("give a secret"),
        Some(first) => Ok(Secret::new(first)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        use clap::CommandFactory;
        Args::command().debug_assert();
    }
}
