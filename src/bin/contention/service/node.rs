//! One service process: this very program with a hidden command, nothing in its environment but
//! what a run gives it.

use std::{
    fs::File,
    io::{BufRead, BufReader, Read},
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::mpsc,
    time::{Duration, Instant},
};

use anyhow::Context;
use flash_sale::{domain::Secret, embedded::guard::Guarded};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};

use super::{Design, serve};
use crate::client::Address;

/// The port for discarding, on which nobody listens.
const NOBODY: &str = "redis://127.0.0.1:9";
/// Migrations and a cold disk included.
const STARTS_WITHIN: Duration = Duration::from_secs(30);

/// What every process of a run is given.
#[derive(Debug)]
pub(crate) struct Settings<'a> {
    pub(crate) dir: &'a Path,
    pub(crate) database_url: &'a Secret,
    pub(crate) lock_urls: &'a [Secret],
    pub(crate) secret: &'a Secret,
    pub(crate) design: Design,
    /// None for the simulated gateway.
    pub(crate) payment_url: Option<&'a str>,
}

#[derive(Debug)]
pub(crate) struct Node {
    pub(crate) api: Address,
    /// Where its figures are; none for a service of somebody else and for the naive design.
    pub(crate) ops: Option<Address>,
    process: Option<Process>,
}

#[derive(Debug)]
struct Process {
    _guarded: Guarded,
    pid: Pid,
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
        let mut command = command(settings, serve::LANES)?;
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
            Design::Uncached => drop(command.env("REDIS_URL", NOBODY)),
            Design::Lanes | Design::Naive => {}
        }
        let log = settings.dir.join(format!("node-{number}.log"));
        let (process, [api, ops]) = run(command, &log, ["listening on ", "operations on "])?;
        Ok(Self {
            api: Address::resolve(&api).await?,
            ops: Some(Address::resolve(&ops).await?),
            process: Some(process),
        })
    }

    pub(crate) async fn start_naive(settings: &Settings<'_>) -> anyhow::Result<Self> {
        let command = command(settings, serve::NAIVE)?;
        let log = settings.dir.join("naive.log");
        let (process, [api]) = run(command, &log, ["listening on "])?;
        Ok(Self {
            api: Address::resolve(&api).await?,
            ops: None,
            process: Some(process),
        })
    }

    /// Lets it stand still.
    pub(crate) fn pause(&self) -> anyhow::Result<()> {
        self.signal(Signal::SIGSTOP)
    }

    pub(crate) fn resume(&self) -> anyhow::Result<()> {
        self.signal(Signal::SIGCONT)
    }

    fn signal(&self, signal: Signal) -> anyhow::Result<()> {
        let process = self.process.as_ref().context("not a process of ours")?;
        kill(process.pid, signal).with_context(|| format!("cannot send {signal}"))
    }
}

fn command(settings: &Settings<'_>, design: &str) -> anyhow::Result<Command> {
    let program = std::env::current_exe().context("cannot find this program's own file")?;
    let mut command = Guarded::command(program);
    command.arg(design).env_clear();
    // The program needs nothing of the environment, the shell beside it the path.
    if let Some(path) = std::env::var_os("PATH") {
        command.env("PATH", path);
    }
    let urls: Vec<&str> = settings.lock_urls.iter().map(Secret::expose).collect();
    if !urls.is_empty() {
        command.env("REDIS_LOCK_URLS", urls.join(","));
    }
    command
        .env("DATA_DIR", settings.dir)
        .env("DATABASE_URL", settings.database_url.expose());
    Ok(command)
}

/// Starts it and waits until it has said what follows each prefix, or ended.
fn run<const N: usize>(
    mut command: Command,
    log: &Path,
    prefixes: [&str; N],
) -> anyhow::Result<(Process, [String; N])> {
    let errors = File::create(log).with_context(|| format!("cannot write {}", log.display()))?;
    command.stdout(Stdio::piped()).stderr(errors);
    let mut guarded = Guarded::spawn(command).context("cannot start the service")?;
    let stdout = guarded.stdout().context("the service has no output")?;
    let (said, lines) = mpsc::sync_channel(16);
    // Ends with the process, when the pipe closes.
    std::thread::spawn(move || {
        for line in BufReader::new(stdout).lines().map_while(Result::ok) {
            if said.send(line).is_err() {
                break;
            }
        }
    });
    let deadline = Instant::now() + STARTS_WITHIN;
    let mut pid = None;
    let mut found: [Option<String>; N] = std::array::from_fn(|_| None);
    while pid.is_none() || found.iter().any(Option::is_none) {
        let left = deadline.saturating_duration_since(Instant::now());
        let Ok(line) = lines.recv_timeout(left) else {
            anyhow::bail!("the service did not start: {}", last_words(&log.to_owned()));
        };
        if let Some(number) = line.strip_prefix("pid ") {
            pid = number.parse().ok().map(Pid::from_raw);
        }
        for (place, prefix) in found.iter_mut().zip(prefixes) {
            if let Some(rest) = line.strip_prefix(prefix) {
                *place = Some(rest.to_owned());
            }
        }
    }
    let process = Process {
        _guarded: guarded,
        pid: pid.context("the service has no process id")?,
    };
    Ok((process, found.map(Option::unwrap_or_default)))
}

/// The last line that a process wrote to its log.
fn last_words(log: &PathBuf) -> String {
    let mut text = String::new();
    let read = File::open(log).and_then(|mut file| file.read_to_string(&mut text));
    match (read, text.lines().last()) {
        (Ok(_), Some(line)) => line.to_owned(),
        (Ok(_), None) | (Err(_), _) => "it said nothing".to_owned(),
    }
}
