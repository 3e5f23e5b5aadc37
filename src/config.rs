//! Every setting of the service, as an environment variable and a flag of the same name.
//!
//! The only reader of the environment (`config/environment.rs`). `check` validates settings that depend on each other; an
//! invalid value ends the start with one line that names the setting.

use std::{net::SocketAddr, path::PathBuf, time::Duration};

use clap::{Args, Parser, Subcommand, ValueEnum};

use crate::domain::Secret;

mod auth;
mod check;
mod connections;
mod environment;
mod monitor;
mod origin;
mod parse;
mod payments;
mod telemetry;
mod value;

pub use self::{
    auth::{AdminClaim, Auth},
    check::{Error, SECRET_MIN},
    connections::Connections,
    monitor::Monitor,
    origin::Origin,
    parse::{Refusal, parse},
    payments::{Payments, Provider},
    telemetry::Telemetry,
};

/// An order service for flash sales.
#[derive(Debug, Parser)]
#[command(name = "flash-sale", version, about)]
pub struct Cli {
    #[command(subcommand)]
    pub command: Command,
}

#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run the order service (the default command)
    Serve(Box<Serve>),
    /// Migrate the database to the newest schema and exit
    Migrate(Database),
    /// Print a token for the API
    Token(Token),
    /// Check the invariants in the database, print the result of each, exit 1 on a breach
    Verify(Database),
}

#[derive(Args, Clone, Debug)]
pub struct Serve {
    /// Add demo drops, guest sessions (`POST /guest-sessions`) and a storefront (`/`) for trying the service out
    #[arg(long)]
    pub demo: bool,

    /// Address of the API. Loopback by default: put a TLS-terminating proxy in front
    #[arg(
        long,
        env,
        value_name = "LISTEN_ADDR",
        default_value = "127.0.0.1:8080",
        value_parser = value::listener
    )]
    pub listen_addr: SocketAddr,

    /// Address of the live monitor (`/`), `/metrics` and `/health` for operators; separate from the API, so that it is
    /// never public by accident
    #[arg(long, env, value_name = "OPS_ADDR", default_value = "127.0.0.1:9464",
          value_parser = value::listener)]
    pub ops_addr: SocketAddr,

    #[command(flatten)]
    pub database: Database,

    /// What the start does about the schema: apply missing migrations, refuse to start if one is
    /// missing, or nothing
    #[arg(long, env, value_name = "MIGRATE", value_enum, default_value_t = Migrate::Auto)]
    pub migrate: Migrate,

    #[command(flatten)]
    pub redis: Redis,

    #[command(flatten)]
    pub auth: Auth,

    #[command(flatten)]
    pub payments: Payments,

    #[command(flatten)]
    pub limits: Limits,

    #[command(flatten)]
    pub connections: Connections,

    #[command(flatten)]
    pub monitor: Monitor,

    /// Origins whose pages may call the API, comma-separated; `https://*.shop.example` names every
    /// host below a domain, `*` all; none by default
    #[arg(long, env, value_name = "CORS_ORIGINS", value_delimiter = ',',
          value_parser = value::trimmed::<String>)]
    pub cors_origins: Vec<String>,

    /// Products with a metric label of their own; later ones share `other`, because every label
    /// value permanently costs memory in Prometheus
    #[arg(long, env, value_name = "METRICS_PRODUCTS_MAX", default_value_t = 200,
          value_parser = value::number(0..=1_000_000))]
    pub metrics_products_max: u32,

    /// Time between two checks of the invariants in the database, in seconds, which are exported as
    /// metrics; 0 disables them
    #[arg(long, env, value_name = "VERIFY_SECONDS", default_value_t = 300,
          value_parser = value::number(0..=86_400))]
    pub verify_seconds: u32,

    #[command(flatten)]
    pub telemetry: Telemetry,

    /// Format of the log lines on standard error
    #[arg(long, env, value_name = "LOG_FORMAT", value_enum, default_value_t = LogFormat::Text)]
    pub log_format: LogFormat,

    /// Log filter, as `level` or `module=level,…`
    #[arg(
        long,
        env,
        value_name = "RUST_LOG",
        default_value = "info,sqlx=warn,sea_orm_migration=warn,fred=error"
    )]
    pub rust_log: String,
}

#[derive(Args, Clone, Debug)]
pub struct Database {
    /// Folder of the embedded default: the SQLite file, the private Redis nodes' files and the
    /// generated secret
    #[arg(long, env, value_name = "DATA_DIR", default_value = "./data")]
    pub data_dir: PathBuf,

    /// `postgres://…` or `sqlite://…`; SQLite in `DATA_DIR` when not given
    #[arg(long, env, value_name = "DATABASE_URL", hide_env_values = true)]
    pub database_url: Option<Secret>,

    /// The server of `DATABASE_URL` without the pooler in between, for migrations: they hold a lock for
    /// as long as a session lasts. `DATABASE_URL` when not given
    #[arg(long, env, value_name = "DATABASE_DIRECT_URL", hide_env_values = true)]
    pub database_direct_url: Option<Secret>,

    /// Connections to the database, at least 2: half of them write orders (`SQLite`: one), a fifth
    /// write payments, the rest read, so that reads and payments never delay orders
    #[arg(long, env, value_name = "DATABASE_POOL_MAX", default_value_t = 20,
          value_parser = value::number(2..=1_000))]
    pub database_pool_max: u32,
}

#[derive(Args, Clone, Debug)]
pub struct Redis {
    /// The 1, 3 or 5 independent Redis nodes of the lock, comma-separated; `REDIS_URL` alone when
    /// not given; private nodes when neither is given
    #[arg(
        long,
        env,
        value_name = "REDIS_LOCK_URLS",
        value_delimiter = ',',
        value_parser = value::trimmed::<Secret>,
        hide_env_values = true
    )]
    pub redis_lock_urls: Vec<Secret>,

    /// Redis for stock and user events, rate limits and the read cache,
    /// `redis[s][-cluster|-sentinel]://…`; the first lock node when not given
    #[arg(long, env, value_name = "REDIS_URL", hide_env_values = true)]
    pub redis_url: Option<Secret>,

    /// Time to live of a lock, in milliseconds: longer than any batch, short enough that the lock
    /// of a node that died is soon free
    #[arg(long, env, value_name = "LOCK_TTL_MS", default_value = "2000", value_parser = value::lock_ttl)]
    pub lock_ttl_ms: Duration,

    /// How long an order waits for locks of other nodes before `high_demand`, in milliseconds
    #[arg(long, env, value_name = "LOCK_PATIENCE_MS", default_value = "250", value_parser = value::patience)]
    pub lock_patience_ms: Duration,
}

#[derive(Args, Clone, Debug)]
pub struct Limits {
    /// Orders of one batch, which share a lock and a transaction, at most; 1 disables batching
    #[arg(long, env, value_name = "ORDER_BATCH_MAX", default_value_t = 1_024,
          value_parser = value::number(1..=10_000))]
    pub order_batch_max: u32,

    /// Orders that may wait for one product on this node; further ones get `high_demand`
    #[arg(long, env, value_name = "LANE_QUEUE_MAX", default_value_t = 16_384,
          value_parser = value::number(1..=1_000_000))]
    pub lane_queue_max: u32,

    /// Order requests a minute that one user may send, over all nodes, before 429; 0 disables the
    /// limit, for a shop whose edge proxy has one
    #[arg(long, env, value_name = "RATE_LIMIT_PER_MINUTE", default_value_t = 1_000,
          value_parser = value::number(0..=100_000_000))]
    pub rate_limit_per_minute: u32,

    /// Time limit for answering a request, in milliseconds
    #[arg(long, env, value_name = "REQUEST_TIMEOUT_MS", default_value = "5000", value_parser = value::request_timeout)]
    pub request_timeout_ms: Duration,

    /// Time limit for a stop, in milliseconds; a longer stop is a failure
    #[arg(long, env, value_name = "SHUTDOWN_TIMEOUT_MS", default_value = "10000", value_parser = value::request_timeout)]
    pub shutdown_timeout_ms: Duration,

    /// How long the service goes on serving between the signal and the stop, in milliseconds,
    /// while `/health/ready` answers 503: the time that a load balancer takes to notice
    #[arg(long, env, value_name = "SHUTDOWN_DELAY_MS", default_value = "0", value_parser = value::shutdown_delay)]
    pub shutdown_delay_ms: Duration,
}

#[derive(Args, Clone, Debug)]
pub struct Token {
    /// User that the token identifies (the claim `sub`)
    #[arg(long, value_parser = clap::builder::NonEmptyStringValueParser::new())]
    pub user: String,

    /// Grant the role `admin`
    #[arg(long)]
    pub admin: bool,

    /// How long the token is valid: a number and s, m, h or d
    #[arg(long, default_value = "1h", value_parser = value::ttl)]
    pub ttl: Duration,

    #[command(flatten)]
    pub auth: Auth,

    /// Folder with the generated secret
    #[arg(long, env, value_name = "DATA_DIR", default_value = "./data")]
    pub data_dir: PathBuf,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Migrate {
    /// Apply missing migrations; needs no right to change the schema when none is missing
    Auto,
    /// Refuse to start if a migration is missing
    Check,
    /// Use the schema as it is
    Off,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    Text,
    Json,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        use clap::CommandFactory;
        Cli::command().debug_assert();
    }
}
