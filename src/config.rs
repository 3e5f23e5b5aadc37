//! Every setting of the service, as an environment variable and a flag of the same name.
//!
//! The only reader of the environment. What needs more than one setting to be judged is checked
//! in [`Serve::check`]; a bad value ends the start with one line that names it.

use std::{
    ffi::OsString,
    io::{self, Write},
    net::SocketAddr,
    path::PathBuf,
    process::ExitCode,
    time::Duration,
};

use clap::{Args, CommandFactory, Parser, Subcommand, ValueEnum};

use crate::domain::Secret;

/// An order service for flash sales.
#[derive(Debug, Parser)]
#[command(name = "flash-sale", version, about)]
pub struct Cli {
    #[command(subcommand)]
    pub command: Command,
}

#[derive(Debug, Subcommand)]
pub enum Command {
    /// Take orders (the default command)
    Serve(Box<Serve>),
    /// Bring the database's schema up to date and end
    Migrate(Database),
    /// Print a token for the API
    Token(Token),
    /// Check the invariants in the database, print what was checked, exit 1 on a breach
    Verify(Database),
}

#[derive(Args, Clone, Debug)]
pub struct Serve {
    /// Add demo drops and guest sessions (`POST /guest-sessions`) for trying the service out
    #[arg(long)]
    pub demo: bool,

    /// Address of the API. Loopback by default: put a TLS-terminating proxy in front
    #[arg(
        long,
        env,
        value_name = "LISTEN_ADDR",
        default_value = "127.0.0.1:8080"
    )]
    pub listen_addr: SocketAddr,

    /// Address of `/metrics` and `/health` for operators; apart from the API, so that it is
    /// never public by accident
    #[arg(long, env, value_name = "OPS_ADDR", default_value = "127.0.0.1:9464")]
    pub ops_addr: SocketAddr,

    #[command(flatten)]
    pub database: Database,

    #[command(flatten)]
    pub redis: Redis,

    #[command(flatten)]
    pub auth: Auth,

    #[command(flatten)]
    pub limits: Limits,

    /// Origins whose pages may call the API, comma-separated; none by default
    #[arg(long, env, value_name = "CORS_ORIGINS", value_delimiter = ',')]
    pub cors_origins: Vec<String>,

    /// Products with a metric label of their own; later ones share `other`, because every label
    /// value costs memory in Prometheus for ever
    #[arg(long, env, value_name = "METRICS_PRODUCTS_MAX", default_value_t = 200)]
    pub metrics_products_max: usize,

    /// Form of the log lines on standard error
    #[arg(long, env, value_name = "LOG_FORMAT", value_enum, default_value_t = LogFormat::Text)]
    pub log_format: LogFormat,

    /// What to log, as `level` or `module=level,…`
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

    /// Connections to the database, at least 2: half of them write (`SQLite`: one), the rest
    /// read, so that a storm of reads never keeps a sale waiting
    #[arg(long, env, value_name = "DATABASE_POOL_MAX", default_value_t = 20,
          value_parser = clap::value_parser!(u32).range(2..=1_000))]
    pub database_pool_max: u32,
}

#[derive(Args, Clone, Debug)]
pub struct Redis {
    /// The 1, 3 or 5 independent Redis nodes of the lock, comma-separated; `REDIS_URL` alone when
    /// not given; private nodes when neither is
    #[arg(
        long,
        env,
        value_name = "REDIS_LOCK_URLS",
        value_delimiter = ',',
        hide_env_values = true
    )]
    pub redis_lock_urls: Vec<Secret>,

    /// Redis for stock events, `redis[s][-cluster|-sentinel]://…`; the first lock node when not given
    #[arg(long, env, value_name = "REDIS_URL", hide_env_values = true)]
    pub redis_url: Option<Secret>,

    /// How long a lock lives, in milliseconds: longer than any batch, short enough that a dead
    /// holder is soon forgotten
    #[arg(long, env, value_name = "LOCK_TTL_MS", default_value = "2000", value_parser = lock_ttl)]
    pub lock_ttl_ms: Duration,

    /// How long an order waits for a busy lock before `high_demand`, in milliseconds
    #[arg(long, env, value_name = "LOCK_PATIENCE_MS", default_value = "250", value_parser = patience)]
    pub lock_patience_ms: Duration,
}

#[derive(Args, Clone, Debug)]
pub struct Auth {
    /// Secret of HS256 tokens, 32 bytes or more; generated into `DATA_DIR` when no key is given
    #[arg(long, env, value_name = "AUTH_SECRET", hide_env_values = true)]
    pub auth_secret: Option<Secret>,

    /// Public key of RS256, ES256 or `EdDSA` tokens: the PEM text, or the path of its file
    #[arg(long, env, value_name = "AUTH_PUBLIC_KEY")]
    pub auth_public_key: Option<String>,
}

#[derive(Args, Clone, Debug)]
pub struct Limits {
    /// Orders that one lock and one transaction serve together; 1 turns batching off
    #[arg(long, env, value_name = "ORDER_BATCH_MAX", default_value_t = 1_024,
          value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub order_batch_max: u32,

    /// Orders that wait for one product on this node before `high_demand`
    #[arg(long, env, value_name = "LANE_QUEUE_MAX", default_value_t = 16_384,
          value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub lane_queue_max: u32,

    /// Order requests a minute that one user may send to this node, before 429
    #[arg(long, env, value_name = "RATE_LIMIT_PER_MINUTE", default_value_t = 1_000,
          value_parser = clap::value_parser!(u32).range(1..=100_000_000))]
    pub rate_limit_per_minute: u32,

    /// Within this time every request is answered, in milliseconds
    #[arg(long, env, value_name = "REQUEST_TIMEOUT_MS", default_value = "5000", value_parser = request_timeout)]
    pub request_timeout_ms: Duration,

    /// How long a stop may take before it becomes a failure, in milliseconds
    #[arg(long, env, value_name = "SHUTDOWN_TIMEOUT_MS", default_value = "10000", value_parser = request_timeout)]
    pub shutdown_timeout_ms: Duration,

    /// Connections that the API serves at once; the next ones wait to be accepted
    #[arg(long, env, value_name = "CONNECTIONS_MAX", default_value_t = 20_000,
          value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub connections_max: u32,
}

#[derive(Args, Clone, Debug)]
pub struct Token {
    /// Who the token is for (the claim `sub`)
    #[arg(long)]
    pub user: String,

    /// Give the role `admin`
    #[arg(long)]
    pub admin: bool,

    /// How long it is valid: a number and s, m, h or d
    #[arg(long, default_value = "1h", value_parser = ttl)]
    pub ttl: Duration,

    #[command(flatten)]
    pub auth: Auth,

    /// Folder with the generated secret
    #[arg(long, env, value_name = "DATA_DIR", default_value = "./data")]
    pub data_dir: PathBuf,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    Text,
    Json,
}

/// A combination of settings that cannot work, told in one line.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum Error {
    #[error("REDIS_LOCK_URLS: give 1, 3 or 5 nodes, not {0}: only these have a useful majority")]
    LockNodes(usize),
    #[error("{0}: not a URL of the form {1}")]
    Url(&'static str, &'static str),
    #[error("REDIS_LOCK_URLS: a node is named twice; a majority needs independent nodes")]
    LockNodeTwice,
    #[error("AUTH_SECRET: is empty")]
    EmptySecret,
    #[error("CORS_ORIGINS: {0} is not an origin such as https://shop.example")]
    Origin(String),
}

/// Why the command line gave no command: wrong, or a question for help.
#[derive(Debug)]
pub struct Refusal(clap::Error);

impl Refusal {
    /// Prints the help that was asked for, or what is wrong in one line.
    pub fn tell(&self) -> ExitCode {
        if self.0.use_stderr() {
            let text = self.0.to_string();
            let line = text.lines().next().unwrap_or_default();
            drop(writeln!(io::stderr(), "{line}"));
            return ExitCode::from(2);
        }
        drop(self.0.print());
        ExitCode::SUCCESS
    }
}

/// Reads the command line and the environment. `serve` is the command when none is named, also
/// with flags of its own.
pub fn parse(arguments: impl Iterator<Item = OsString>) -> Result<Cli, Refusal> {
    let mut arguments: Vec<OsString> = arguments.collect();
    let first = arguments.get(1).and_then(|first| first.to_str());
    let names_command = first.is_some_and(|first| {
        matches!(first, "-h" | "--help" | "-V" | "--version" | "help")
            || Cli::command().find_subcommand(first).is_some()
    });
    if !names_command {
        arguments.insert(1.min(arguments.len()), OsString::from("serve"));
    }
    let mut command = Cli::command();
    if let Some(serve) = command.find_subcommand_mut("serve") {
        let settings = serve.render_long_help().to_string();
        command = command.after_help(format!("Without a command it serves:\n\n{settings}"));
    }
    let matches = command.try_get_matches_from(arguments).map_err(Refusal)?;
    <Cli as clap::FromArgMatches>::from_arg_matches(&matches).map_err(Refusal)
}

const REDIS_FORM: &str = "redis://host:port or rediss://host:port";
const REDIS_ANY_FORM: &str = "redis[s][-cluster|-sentinel]://host:port";
const DATABASE_FORM: &str = "postgres://… or sqlite://…";

impl Serve {
    /// Judges the settings that clap cannot judge alone.
    pub fn check(&self) -> Result<(), Error> {
        self.database.check()?;
        self.auth.check()?;
        self.redis.check()?;
        for origin in &self.cors_origins {
            let is_origin = url_has_scheme(origin, &["http", "https"])
                && axum::http::HeaderValue::from_str(origin).is_ok();
            if !is_origin {
                return Err(Error::Origin(origin.clone()));
            }
        }
        Ok(())
    }
}

impl Database {
    pub fn check(&self) -> Result<(), Error> {
        match &self.database_url {
            Some(url) if !url_has_scheme(url.expose(), &["postgres", "postgresql", "sqlite"]) => {
                Err(Error::Url("DATABASE_URL", DATABASE_FORM))
            }
            Some(_) | None => Ok(()),
        }
    }
}

impl Redis {
    /// The nodes of the lock that were asked for; none means private ones.
    pub fn lock_nodes(&self) -> Vec<Secret> {
        if self.redis_lock_urls.is_empty() {
            self.redis_url.iter().cloned().collect()
        } else {
            self.redis_lock_urls.clone()
        }
    }

    fn check(&self) -> Result<(), Error> {
        let nodes = self.lock_nodes();
        if !matches!(nodes.len(), 0 | 1 | 3 | 5) {
            return Err(Error::LockNodes(nodes.len()));
        }
        let alone = self.redis_lock_urls.is_empty();
        for (index, node) in nodes.iter().enumerate() {
            if !alone && redis::Client::open(node.expose()).is_err() {
                return Err(Error::Url("REDIS_LOCK_URLS", REDIS_FORM));
            }
            if nodes.iter().take(index).any(|other| other == node) {
                return Err(Error::LockNodeTwice);
            }
        }
        match &self.redis_url {
            Some(url) if fred::types::config::Config::from_url(url.expose()).is_err() => {
                Err(Error::Url("REDIS_URL", REDIS_ANY_FORM))
            }
            Some(url) if alone && redis::Client::open(url.expose()).is_err() => Err(Error::Url(
                "REDIS_LOCK_URLS",
                "redis://host:port: the lock needs independent nodes, not a cluster or a sentinel",
            )),
            Some(_) | None => Ok(()),
        }
    }
}

impl Auth {
    pub fn check(&self) -> Result<(), Error> {
        match &self.auth_secret {
            Some(secret) if secret.expose().is_empty() => Err(Error::EmptySecret),
            Some(_) | None => Ok(()),
        }
    }
}

fn url_has_scheme(url: &str, schemes: &[&str]) -> bool {
    url.split_once("://")
        .is_some_and(|(scheme, rest)| schemes.contains(&scheme) && !rest.is_empty())
}

fn millis(text: &str, least: u64, most: u64) -> Result<Duration, String> {
    match text.parse::<u64>() {
        Ok(value) if (least..=most).contains(&value) => Ok(Duration::from_millis(value)),
        Ok(_) | Err(_) => Err(format!("give milliseconds from {least} to {most}")),
    }
}

/// Under 100 ms rslock's clock drift and a slow node leave no time to write.
fn lock_ttl(text: &str) -> Result<Duration, String> {
    millis(text, 100, 60_000)
}

fn patience(text: &str) -> Result<Duration, String> {
    millis(text, 1, 60_000)
}

fn request_timeout(text: &str) -> Result<Duration, String> {
    millis(text, 100, 600_000)
}

fn ttl(text: &str) -> Result<Duration, String> {
    let bad = || "give a number and s, m, h or d, such as 1h".to_owned();
    let unit = text.chars().last().ok_or_else(bad)?;
    let seconds = match unit {
        's' => 1,
        'm' => 60,
        'h' => 3_600,
        'd' => 86_400,
        _ => return Err(bad()),
    };
    let number: u64 = text.trim_end_matches(unit).parse().map_err(|_| bad())?;
    match number.checked_mul(seconds) {
        Some(total) if (1..=10 * 365 * 86_400).contains(&total) => Ok(Duration::from_secs(total)),
        Some(_) | None => Err("give between 1s and 3650d".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ttl_is_a_number_and_a_unit() {
        assert_eq!(ttl("90s"), Ok(Duration::from_secs(90)));
        assert_eq!(ttl("2h"), Ok(Duration::from_secs(7_200)));
        for bad in [
            "",
            "h",
            "1",
            "1w",
            "-1h",
            "99999999999999999999d",
            "0s",
            "1hh",
        ] {
            assert!(ttl(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }
}
