//! A service process: this program with a hidden command and only the run's settings in its
//! environment.

use std::{
    fs::File,
    path::Path,
    process::{Command, Stdio},
    time::Duration,
};

use anyhow::Context;
use flash_sale::{domain::Secret, embedded::guard::Guarded};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use test_support::{
    process::is_alive,
    service::{announced, clear_environment},
    wait::eventually,
};

use super::{Design, serve};
use crate::{client::Address, designs};

/// The discard port, on which nothing listens.
const NO_REDIS: &str = "redis://127.0.0.1:9";

/// Longer than the service's own deadline.
const STOPS_WITHIN: Duration = Duration::from_secs(20);

/// Settings of every process of a run.
#[derive(Debug)]
pub(crate) struct Settings<'a> {
    pub(crate) dir: &'a Path,
    pub(crate) database_url: &'a Secret,
    pub(crate) lock_urls: &'a [Secret],
    pub(crate) secret: &'a Secret,
    pub(crate) design: Design,
    /// `None` for the service's default.
    pub(crate) connections_max: Option<u32>,
    /// `None` for the simulated gateway.
    pub(crate) payment_url: Option<&'a str>,
    /// Further environment variables.
    pub(crate) environment: &'a [(String, String)],
}

#[derive(Debug)]
pub(crate) struct Node {
    pub(crate) api: Address,
    /// Address of its metrics; `None` for an existing service and the naive design.
    pub(crate) ops: Option<Address>,
    process: Option<Process>,
}

#[derive(Debug)]
struct Process {
    _guarded: Guarded,
    pid: Pid,
}

impl Process {
    fn new(guarded: Guarded, pid: &str) -> anyhow::Result<Self> {
        Ok(Self {
            _guarded: guarded,
            pid: Pid::from_raw(pid.parse().context("the service has no process id")?),
        })
    }
}

impl Node {
    pub(crate) fn existing(api: Address) -> Self {
        Self {
            api,
            ops: None,
            process: None,
        }
    }

    pub(crate) async fn start(settings: &Settings<'_>, number: u32) -> anyhow::Result<Self> {
        let mut command = command(settings, &[serve::COMMAND])?;
        command
            .env("LISTEN_ADDR", "127.0.0.1:0")
            .env("OPS_ADDR", "127.0.0.1:0")
            .env("AUTH_SECRET", settings.secret.expose())
            .env("RUST_LOG", "warn,fred=off");
        match settings.payment_url {
            Some(url) => command
                .env("PAYMENTS", "stripe")
                .env("PAYMENT_URL", url)
                .env("PAYMENT_KEY", "sk_test_contention"),
            None => command.env("PAYMENTS", "simulated"),
        };
        match settings.design {
            Design::Unbatched => drop(command.env("ORDER_BATCH_MAX", "1")),
            Design::Uncached => drop(command.env("REDIS_URL", NO_REDIS)),
            Design::Lanes | Design::Naive => {}
        }
        if let Some(bound) = settings.connections_max {
            command.env("CONNECTIONS_MAX", bound.to_string());
        }
        command.envs(settings.environment.iter().cloned());
        let log = settings.dir.join(format!("node-{number}.log"));
        let printed = ["pid ", "listening on ", "operations on "];
        let (guarded, [pid, api, ops]) = run(command, &log, printed).await?;
        Ok(Self {
            api: Address::resolve(&api).await?,
            ops: Some(Address::resolve(&ops).await?),
            process: Some(Process::new(guarded, &pid)?),
        })
    }

    pub(crate) async fn start_naive(settings: &Settings<'_>) -> anyhow::Result<Self> {
        let command = command(settings, &[designs::COMMAND, "--design", "naive"])?;
        let log = settings.dir.join("naive.log");
        let printed = ["pid ", "listening on "];
        let (guarded, [pid, api]) = run(command, &log, printed).await?;
        Ok(Self {
            api: Address::resolve(&api).await?,
            ops: None,
            process: Some(Process::new(guarded, &pid)?),
        })
    }

    /// Stops the process with SIGSTOP.
    pub(crate) fn pause(&self) -> anyhow::Result<()> {
        self.signal(Signal::SIGSTOP)
    }

    pub(crate) fn resume(&self) -> anyhow::Result<()> {
        self.signal(Signal::SIGCONT)
    }

    /// Lets the process stop by itself (SIGTERM), and waits until it has ended.
    pub(crate) async fn stop(&self) -> anyhow::Result<()> {
        self.signal(Signal::SIGTERM)?;
        let process = self.process.as_ref().context("no process")?;
        let pid = u32::try_from(process.pid.as_raw())?;
        let ended = async || match is_alive(pid) {
            Ok(true) => None,
            Ok(false) => Some(Ok(())),
            Err(error) => Some(Err(error)),
        };
        Ok(eventually("the node stops", STOPS_WITHIN, ended).await??)
    }

    fn signal(&self, signal: Signal) -> anyhow::Result<()> {
        let process = self
            .process
            .as_ref()
            .context("this run did not start the process")?;
        kill(process.pid, signal).with_context(|| format!("cannot send {signal}"))
    }
}

fn command(settings: &Settings<'_>, arguments: &[&str]) -> anyhow::Result<Command> {
    let program = std::env::current_exe().context("cannot find this program's own file")?;
    let mut command = Guarded::command(program);
    // The service needs no environment variables, its guard shell needs PATH.
    clear_environment(&mut command).args(arguments);
    let urls: Vec<&str> = settings.lock_urls.iter().map(Secret::expose).collect();
    if !urls.is_empty() {
        command.env("REDIS_LOCK_URLS", urls.join(","));
    }
    command
        .env("DATA_DIR", settings.dir)
        .env("DATABASE_URL", settings.database_url.expose());
    Ok(command)
}

/// Starts the process and waits until it has printed a line with each prefix, or has ended.
async fn run<const N: usize>(
    mut command: Command,
    log: &Path,
    prefixes: [&str; N],
) -> anyhow::Result<(Guarded, [String; N])> {
    let errors = File::create(log).with_context(|| format!("cannot write {}", log.display()))?;
    command.stdout(Stdio::piped()).stderr(errors);
    let mut guarded = Guarded::spawn(command).context("cannot start the service")?;
    let stdout = guarded.stdout().context("the service has no output")?;
    let (found, _) = announced(stdout, prefixes, log).await?;
    Ok((guarded, found))
}
