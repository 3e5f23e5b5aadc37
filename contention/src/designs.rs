//! Baseline designs to compare the service with, and helpers of `scripts/bench` and `scripts/cluster bench`.
//!
//! Every design answers the same `POST /orders` with the same order, with the service's own HTTP
//! server, allocator and tables, and checks the same tokens if it has their secret. None checks
//! limits or idempotency keys, and none keeps metrics, which favours them over the service.
//!
//! They run behind the hidden command `contention designs`: `scripts/bench` calls it, and a run
//! with `--baseline` starts the naive design with it.

use std::{ffi::OsString, net::SocketAddr};

use anyhow::Context;
use clap::{Args, Parser, Subcommand, ValueEnum};
use flash_sale::{api::auth::Keys, config, domain::Secret, tasks::Tasks};
use tokio::net::TcpListener;

use self::{
    database_lock::{DatabaseLock, Kind},
    decrement::Decrement,
    http::{Baseline, Shop},
    naive::Naive,
    skip_locked::SkipLocked,
    statement::SingleStatement,
};

mod command;
mod database_lock;
mod decrement;
mod hold;
mod http;
mod link;
mod naive;
mod pool;
mod skip_locked;
mod statement;
mod tokens;

/// The hidden command.
pub(crate) const COMMAND: &str = "designs";

/// Baseline designs of an order service, for `scripts/bench` and `contention --baseline`.
#[derive(Debug, Parser)]
#[command(
    name = "designs",
    bin_name = "contention designs",
    args_conflicts_with_subcommands = true
)]
struct Cli {
    #[command(subcommand)]
    helper: Option<Helper>,

    #[command(flatten)]
    serve: Option<Serve>,
}

#[derive(Debug, Subcommand)]
enum Helper {
    /// Print buyers' tokens, one per line
    Tokens(tokens::Tokens),
    /// Open connections, send a request on each, and keep them open until killed
    Hold(hold::Hold),
    /// Pass TCP connections on, with a delay, until killed
    Link(link::Link),
}

/// Serves one design until SIGTERM.
#[derive(Args, Debug)]
struct Serve {
    #[arg(long, value_enum)]
    design: BaselineKind,

    #[arg(long, default_value = "127.0.0.1:0")]
    listen: SocketAddr,

    /// PostgreSQL with the service's schema; the naive design also supports SQLite
    #[arg(long, env = "DATABASE_URL", hide_env_values = true)]
    database_url: Secret,

    /// Database connections; the default is the service's own
    #[arg(long, default_value_t = 20)]
    database_pool_max: u32,

    /// Redis lock nodes, which the naive design uses; the decrement keeps the stock in the first
    #[arg(
        long,
        env = "REDIS_LOCK_URLS",
        hide_env_values = true,
        value_delimiter = ','
    )]
    redis_lock_urls: Vec<Secret>,
}

/// The service's settings of tokens, which only the environment sets here.
#[derive(Debug, Parser)]
struct Login {
    #[command(flatten)]
    auth: config::Auth,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum BaselineKind {
    Naive,
    RowLock,
    AdvisoryLock,
    Statement,
    SkipLocked,
    Decrement,
}

/// Runs a helper or serves a design; `arguments` begin with the program's name.
pub(crate) fn run(arguments: impl Iterator<Item = OsString>) -> anyhow::Result<()> {
    let cli = Cli::parse_from(arguments);
    match (cli.helper, cli.serve) {
        (Some(Helper::Tokens(tokens)), _) => tokens.print(),
        (Some(Helper::Hold(hold)), _) => hold.run(),
        (Some(Helper::Link(link)), _) => link.run(),
        (None, Some(options)) => serve(&options),
        (None, None) => anyhow::bail!("a design or a helper is needed; --help shows them"),
    }
}

#[tokio::main]
async fn serve(options: &Serve) -> anyhow::Result<()> {
    drop(rlimit::increase_nofile_limit(u64::MAX));
    let tasks = Tasks::default();
    let design = open(options, &tasks).await?;
    let auth = Login::parse_from([COMMAND]).auth;
    let keys = if auth.auth_secret.is_empty() {
        None
    } else {
        Some(Keys::new(&auth.auth_secret, &auth)?)
    };
    let listener = TcpListener::bind(options.listen)
        .await
        .with_context(|| format!("cannot listen on {}", options.listen))?;
    http::run(listener, Shop { design, keys }, &tasks).await
}

async fn open(options: &Serve, tasks: &Tasks) -> anyhow::Result<Baseline> {
    let url = options.database_url.expose();
    let connections = options.database_pool_max;
    Ok(match options.design {
        BaselineKind::Naive => {
            let nodes = &options.redis_lock_urls;
            Baseline::Naive(Naive::open(url, connections, nodes, tasks).await?)
        }
        BaselineKind::RowLock => {
            Baseline::DatabaseLock(DatabaseLock::open(url, connections, Kind::Row).await?)
        }
        BaselineKind::AdvisoryLock => {
            Baseline::DatabaseLock(DatabaseLock::open(url, connections, Kind::Advisory).await?)
        }
        BaselineKind::Statement => {
            Baseline::SingleStatement(SingleStatement::open(url, connections).await?)
        }
        BaselineKind::SkipLocked => Baseline::SkipLocked(SkipLocked::open(url, connections).await?),
        BaselineKind::Decrement => {
            let nodes = &options.redis_lock_urls;
            Baseline::Decrement(Box::new(Decrement::open(url, connections, nodes).await?))
        }
    })
}
