//! The other ways to sell that `scripts/bench` measures beside the service, and two helpers of it.
//!
//! Every design answers the same `POST /orders` with the same order, over the service's own HTTP
//! server and allocator, into the service's own tables. None of them checks a login, a limit or
//! an idempotency key, and none keeps metrics: all of that favours them over the service.

use std::{
    io::{self, Write},
    net::SocketAddr,
};

use anyhow::Context;
use clap::{Args, Parser, Subcommand, ValueEnum};
use flash_sale::{domain::Secret, tasks::Tasks};
use tokio::net::TcpListener;

use self::{design::Design, naive::Naive, row_lock::RowLock, statement::SingleStatement};

mod design;
mod hold;
mod http;
mod naive;
mod row_lock;
mod statement;
mod tokens;
mod wish;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Other designs of an order service, for `scripts/bench`.
#[derive(Debug, Parser)]
#[command(name = "designs", args_conflicts_with_subcommands = true)]
struct Cli {
    #[command(subcommand)]
    helper: Option<Helper>,

    #[command(flatten)]
    serve: Option<Serve>,

    /// What `cargo bench` says to every benchmark
    #[arg(long, hide = true)]
    bench: bool,
}

#[derive(Debug, Subcommand)]
enum Helper {
    /// Print a buyer's token a line
    Tokens(tokens::Tokens),
    /// Open connections, send a request on each, and keep them open until killed
    Hold(hold::Hold),
}

/// Serves one design until it is told to end.
#[derive(Args, Debug)]
struct Serve {
    #[arg(long, value_enum)]
    design: Kind,

    #[arg(long, default_value = "127.0.0.1:0")]
    listen: SocketAddr,

    /// PostgreSQL with the service's schema
    #[arg(long)]
    database_url: Secret,

    /// Connections to the database; the service's own default
    #[arg(long, default_value_t = 20)]
    database_pool_max: u32,

    /// The nodes of the lock; only the naive design has one
    #[arg(long, value_delimiter = ',')]
    redis_lock_urls: Vec<Secret>,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Kind {
    Naive,
    RowLock,
    Statement,
}

fn main() -> anyhow::Result<()> {
    let cli = Cli::parse();
    match (cli.helper, cli.serve) {
        (Some(Helper::Tokens(tokens)), _) => tokens.print(),
        (Some(Helper::Hold(hold)), _) => hold.run(),
        (None, Some(serve)) => run(&serve),
        (None, None) => Ok(writeln!(
            io::stdout(),
            "scripts/bench runs the benchmark; --help shows what this is"
        )?),
    }
}

#[tokio::main]
async fn run(serve: &Serve) -> anyhow::Result<()> {
    let tasks = Tasks::default();
    let design = open(serve, &tasks).await?;
    let listener = TcpListener::bind(serve.listen)
        .await
        .with_context(|| format!("cannot listen on {}", serve.listen))?;
    http::run(listener, design, &tasks).await
}

async fn open(serve: &Serve, tasks: &Tasks) -> anyhow::Result<Design> {
    let url = serve.database_url.expose();
    let connections = serve.database_pool_max;
    Ok(match serve.design {
        Kind::Naive => {
            let nodes = &serve.redis_lock_urls;
            Design::Naive(Naive::open(url, connections, nodes, tasks).await?)
        }
        Kind::RowLock => Design::RowLock(RowLock::open(url, connections).await?),
        Kind::Statement => Design::SingleStatement(SingleStatement::open(url, connections).await?),
    })
}
