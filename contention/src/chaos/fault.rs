//! The faults of a run: which, where, for how long, drawn by the seed; and how they begin and end.

use std::time::Duration;

use anyhow::Context;
use rand::{RngExt, rngs::StdRng, seq::SliceRandom};

use super::{cluster::Cluster, link::State};

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum, strum::EnumIter)]
pub(crate) enum Kind {
    /// A node is killed (kill -9) and starts again
    Kill,
    /// A node is stopped (SIGSTOP) and goes on
    Pause,
    /// All connections of a link break, and new ones are refused
    Cut,
    /// The connections of a link stay open, but nothing arrives; later all of it does
    HalfOpen,
    /// Everything on a link arrives late
    Delay,
    /// A node's wall clock jumps (libfaketime)
    ClockJump,
    /// Every process of PostgreSQL is killed (kill -9), and it starts again
    CrashDatabase,
    /// PostgreSQL is killed, and its synchronous standby takes over
    FailOver,
    /// Redis loses all keys
    LoseRedis,
    /// The nodes are restarted one after another
    RollingRestart,
}

/// A link of a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Side {
    Clients,
    Database,
    Redis,
}

impl Side {
    fn name(self) -> &'static str {
        match self {
            Self::Clients => "its clients",
            Self::Database => "the database",
            Self::Redis => "Redis",
        }
    }
}

/// One fault of the schedule.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Fault {
    pub(crate) kind: Kind,
    /// From 0 on.
    pub(crate) node: usize,
    pub(crate) side: Side,
    pub(crate) begins: Duration,
    pub(crate) lasts: Duration,
    late: Duration,
    jump_seconds: i32,
}

/// Faults without an end: every kind once in a random order, then again.
#[derive(Debug)]
pub(crate) struct Schedule {
    random: StdRng,
    kinds: Vec<Kind>,
    next: Vec<Kind>,
    nodes: usize,
    sides: &'static [Side],
}

impl Schedule {
    pub(crate) fn new(random: StdRng, kinds: Vec<Kind>, nodes: usize, is_own: bool) -> Self {
        let sides: &[Side] = if is_own {
            &[Side::Clients, Side::Database, Side::Redis]
        } else {
            &[Side::Clients]
        };
        Self {
            random,
            kinds,
            next: Vec::new(),
            nodes,
            sides,
        }
    }
}

impl Iterator for Schedule {
    type Item = Fault;

    fn next(&mut self) -> Option<Fault> {
        if self.next.is_empty() {
            self.next.clone_from(&self.kinds);
            self.next.shuffle(&mut self.random);
        }
        let random = &mut self.random;
        let millis = |random: &mut StdRng, range: std::ops::Range<u64>| {
            Duration::from_millis(random.random_range(range))
        };
        Some(Fault {
            kind: self.next.pop()?,
            node: random.random_range(0..self.nodes.max(1)),
            side: *self.sides.get(random.random_range(0..self.sides.len()))?,
            begins: millis(random, 300..1_200),
            lasts: millis(random, 300..3_000),
            late: millis(random, 20..400),
            jump_seconds: random.random_range(-60..60),
        })
    }
}

impl Fault {
    pub(crate) fn describe(&self) -> String {
        let node = self.node + 1;
        let (side, lasts) = (self.side.name(), self.lasts.as_millis());
        match self.kind {
            Kind::Kill => format!("node {node} is killed for {lasts} ms"),
            Kind::Pause => format!("node {node} is stopped for {lasts} ms"),
            Kind::Cut => format!("node {node} and {side} are cut off for {lasts} ms"),
            Kind::HalfOpen => {
                format!("nothing passes between node {node} and {side} for {lasts} ms")
            }
            Kind::Delay => {
                let late = self.late.as_millis();
                format!("{late} ms of delay between node {node} and {side} for {lasts} ms")
            }
            Kind::ClockJump => format!(
                "the clock of the last node jumps by {} s",
                self.jump_seconds
            ),
            Kind::CrashDatabase => format!("PostgreSQL is killed for {lasts} ms"),
            Kind::FailOver => "PostgreSQL is killed, its standby takes over".to_owned(),
            Kind::LoseRedis => "Redis loses all keys".to_owned(),
            Kind::RollingRestart => "all nodes are restarted, one after another".to_owned(),
        }
    }

    /// Begins the fault, waits, and ends it.
    pub(crate) async fn inject(&self, cluster: &mut Cluster) -> anyhow::Result<()> {
        tokio::time::sleep(self.begins).await;
        let during = tokio::time::sleep(self.lasts);
        match self.kind {
            Kind::Kill => {
                cluster.kill(self.node)?;
                during.await;
                cluster.start(self.node).await
            }
            Kind::Pause => {
                cluster.process(self.node)?.pause()?;
                during.await;
                cluster.process(self.node)?.resume()
            }
            Kind::Cut => self.on_link(cluster, State::Cut).await,
            Kind::HalfOpen => self.on_link(cluster, State::Silent).await,
            Kind::Delay => self.on_link(cluster, State::Slow(self.late)).await,
            Kind::ClockJump => {
                cluster.set_clock(self.jump_seconds)?;
                during.await;
                cluster.set_clock(0)
            }
            Kind::CrashDatabase => {
                let database = cluster.database().context("no PostgreSQL of its own")?;
                database.crash().await?;
                during.await;
                database.start().await
            }
            Kind::FailOver => cluster.fail_over().await,
            Kind::LoseRedis => cluster.lose_redis(),
            Kind::RollingRestart => cluster.restart_all().await,
        }
    }

    async fn on_link(&self, cluster: &Cluster, state: State) -> anyhow::Result<()> {
        cluster.set_links(self.node, self.side, state)?;
        tokio::time::sleep(self.lasts).await;
        cluster.set_links(self.node, self.side, State::Passes)
    }
}
