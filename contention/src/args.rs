//! The command line.

use std::path::PathBuf;

use clap::{Parser, ValueHint};
use flash_sale::domain::Secret;

use crate::scenario::size::Size;

/// Sends a scripted crowd against the service, checks every promise afterwards, shows the result.
///
/// Without a target it starts its own service: SQLite, private Redis nodes, everything in a
/// temporary folder. The exit code is 0 only if everything held.
#[expect(clippy::struct_excessive_bools, reason = "switches of a command line")]
#[derive(Debug, Parser)]
#[command(name = "contention", version)]
pub(crate) struct Args {
    /// Names of scenarios (`--list` shows them), `all`, or scenario files of your own
    #[arg(value_name = "SCENARIO", value_hint = ValueHint::FilePath, required_unless_present = "list")]
    pub(crate) scenarios: Vec<String>,

    /// Show every scenario with the question that it answers
    #[arg(long)]
    pub(crate) list: bool,

    /// Service processes to start; several numbers make a run of each scenario with each
    #[arg(long, value_name = "N,…", value_delimiter = ',', value_parser = clap::value_parser!(u32).range(1..=9))]
    pub(crate) nodes: Vec<u32>,

    /// Start a private PostgreSQL for the service, instead of SQLite
    #[arg(long, conflicts_with_all = ["database_url", "target"])]
    pub(crate) postgres: bool,

    /// Database of the service to start, instead of a private one
    #[arg(long, value_name = "URL", conflicts_with = "target")]
    pub(crate) database_url: Option<Secret>,

    /// Lock nodes of the service to start, instead of private ones
    #[arg(
        long,
        value_name = "URL,…",
        value_delimiter = ',',
        conflicts_with = "target"
    )]
    pub(crate) redis_lock_urls: Vec<Secret>,

    /// An existing service to drive, instead of one of its own; repeat it for several nodes.
    /// Only products that this made are touched, and no fault is injected
    #[arg(long, value_name = "URL,…", value_delimiter = ',')]
    pub(crate) target: Vec<String>,

    /// Secret that signs the tokens which the target accepts
    #[arg(
        long,
        env = "AUTH_SECRET",
        hide_env_values = true,
        value_name = "AUTH_SECRET"
    )]
    pub(crate) auth_secret: Option<Secret>,

    /// File with a token a line for the target: the first an admin's, the others buyers'
    #[arg(long, value_name = "FILE", requires = "target")]
    pub(crate) tokens: Option<PathBuf>,

    /// Write everything that was found out to this file
    #[arg(long, value_name = "FILE")]
    pub(crate) json: Option<PathBuf>,

    /// Write a page with pictures to this file; it opens without a network
    #[arg(long, value_name = "FILE")]
    pub(crate) html: Option<PathBuf>,

    /// Show the run on the whole terminal while it happens
    #[arg(long)]
    pub(crate) visual: bool,

    /// Users, instead of the scenario's own number
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    pub(crate) users: Option<u32>,

    /// Units of each product, instead of the scenario's own number
    #[arg(long, value_parser = clap::value_parser!(u32).range(0..=1_000_000_000))]
    pub(crate) stock: Option<u32>,

    /// Units per order, instead of the scenario's own number
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub(crate) quantity: Option<u32>,

    /// Length of loads that a clock ends, instead of the scenario's own
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..=3_600))]
    pub(crate) seconds: Option<u32>,

    /// Connections of loads that have a number of them
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..=20_000))]
    pub(crate) connections: Option<u32>,

    /// Begins the random numbers that order the crowd; the same seed sends the same load
    #[arg(long, default_value_t = 1)]
    pub(crate) seed: u64,

    /// Also run the naive design (a lock per order) and a lane without batches, and print ratios;
    /// for scenarios whose load is back to back
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        use clap::CommandFactory;
        Args::command().debug_assert();
    }
}
