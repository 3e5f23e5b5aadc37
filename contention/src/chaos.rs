//! `contention chaos`: breaks the parts of a cluster in a random order, and judges after each fault
//! what its clients were answered.
//!
//! A seed draws the faults and what the clients do. A run is a list of rounds: three new products, a
//! load, one fault, then the questions of `round.rs`.

use std::{
    io::{self, Write},
    time::{Duration, Instant},
};

use anyhow::Context;
use clap::{Parser, ValueEnum};
use flash_sale::domain::Secret;
use rand::{RngExt, SeedableRng, rngs::StdRng};
use strum::IntoEnumIterator;

use self::{
    cluster::Cluster,
    fault::{Kind, Schedule},
};
use crate::tokens::Source;

/// A link that can break.
mod link;
/// The nodes and what they depend on.
mod cluster;
/// The faults and their schedule.
mod fault;
/// Calls and their answers.
mod calls;
/// Buyers and the admin.
mod clients;
/// One round: load, fault, questions.
mod round;
/// Reads a product after its load.
mod reading;

pub(crate) const COMMAND: &str = "chaos";

/// Breaks the parts of a cluster at random, and judges what its clients were answered.
///
/// Without a target it starts three nodes on PostgreSQL and three Redis nodes. The exit code is 0
/// only if every round held; a history that could not be decided does not count as held.
#[derive(Debug, Parser)]
#[command(name = "contention chaos")]
pub(crate) struct Args {
    /// Draws the faults and the load; random by default. The same seed draws the same
    #[arg(long)]
    seed: Option<u64>,

    /// How long to begin new rounds; at least one round is made
    #[arg(long, default_value_t = 5.0, value_parser = minutes)]
    minutes: f64,

    /// Service processes to start
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u8).range(2..=9))]
    nodes: u8,

    /// Kinds of faults to draw from; all that are possible by default
    #[arg(long, value_enum, value_name = "FAULT,…", value_delimiter = ',')]
    faults: Vec<Kind>,

    /// Existing service instead; repeat it for several nodes. Only its clients' connections break
    #[arg(
        long,
        value_name = "URL,…",
        value_delimiter = ',',
        requires = "auth_secret"
    )]
    target: Vec<String>,

    /// Secret for signing tokens that the target accepts
    #[arg(long, env = "AUTH_SECRET", hide_env_values = true)]
    auth_secret: Option<Secret>,
}

fn minutes(text: &str) -> Result<f64, String> {
    let minutes: f64 = text.parse().map_err(|_| "not a number".to_owned())?;
    let possible = (0.0..=1_440.0).contains(&minutes);
    possible
        .then_some(minutes)
        .ok_or_else(|| "from 0 to 1440".to_owned())
}

/// Executes a run; true if every round held.
pub(crate) async fn run(args: &Args) -> anyhow::Result<bool> {
    let seed = args
        .seed
        .unwrap_or_else(|| rand::rng().random_range(1..1_000_000));
    say(&format!(
        "seed {seed}: the same faults again with --seed {seed}"
    ))?;
    let mut cluster = match &args.auth_secret {
        Some(secret) if !args.target.is_empty() => {
            Cluster::existing(&args.target, Source::Secret(secret.clone())).await?
        }
        _ => Cluster::start_own(args.nodes.into()).await?,
    };
    let kinds = kinds(args, &cluster)?;
    let nodes = cluster.addresses()?.len();
    let random = StdRng::seed_from_u64(seed);
    let schedule = Schedule::new(random, kinds, nodes, cluster.is_own());
    let began = Instant::now();
    let deadline = began + Duration::from_secs_f64(args.minutes * 60.0);
    let mut held = true;
    for (number, fault) in (1_u32..).zip(schedule) {
        say(&format!("round {number:>3}  {}", fault.describe()))?;
        let round = round::Round {
            number,
            fault,
            seed,
            epoch: began,
        };
        let report = Box::pin(round.run(&mut cluster)).await;
        let report = report.with_context(|| format!("round {number} of seed {seed}"))?;
        for line in report.lines() {
            say(&format!("           {line}"))?;
        }
        held &= report.held();
        if Instant::now() >= deadline {
            break;
        }
    }
    if held {
        say("every round held")?;
    } else if let Some(logs) = cluster.keep_logs() {
        say(&format!(
            "a round did not hold (seed {seed}); the nodes' logs: {}",
            logs.display()
        ))?;
    } else {
        say(&format!("a round did not hold (seed {seed})"))?;
    }
    Ok(held)
}

/// The kinds of faults that the cluster can have.
fn kinds(args: &Args, cluster: &Cluster) -> anyhow::Result<Vec<Kind>> {
    let possible = |kind: &Kind| match kind {
        Kind::Cut | Kind::HalfOpen | Kind::Delay => true,
        Kind::ClockJump => cluster.has_clock(),
        Kind::Kill
        | Kind::Pause
        | Kind::CrashDatabase
        | Kind::FailOver
        | Kind::LoseRedis
        | Kind::RollingRestart => cluster.is_own(),
    };
    let all = || Kind::iter().filter(possible);
    if args.faults.is_empty() {
        return Ok(all().collect());
    }
    for kind in &args.faults {
        let name = kind.to_possible_value();
        let name = name
            .as_ref()
            .map_or("", clap::builder::PossibleValue::get_name);
        anyhow::ensure!(possible(kind), "--faults: {name} is not possible here");
    }
    Ok(args.faults.clone())
}

fn say(line: &str) -> io::Result<()> {
    let mut out = io::stdout().lock();
    writeln!(out, "{line}")?;
    out.flush()
}
