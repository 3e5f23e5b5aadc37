//! The number of nodes that count with the same Redis.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

use fred::types::Value;

use crate::{
    domain::ProductId,
    redis::{NODES_KEY, Redis, script::Script},
    tasks::Tasks,
};

static SCRIPT: Script = Script::new(include_str!("nodes.lua"));

/// How often a node announces itself.
const ANNOUNCE_EVERY: Duration = Duration::from_secs(1);
/// A node that was silent for this long does not count; neither does a number that old.
const FORGOTTEN_AFTER: Duration = Duration::from_secs(5);
/// Time limit of a call to Redis.
const ANSWER_WITHIN: Duration = Duration::from_millis(250);

/// The number of nodes, this one included; clones share it. It falls only after
/// [`FORGOTTEN_AFTER`]: a Redis that has lost its keys counts the nodes anew.
#[derive(Clone, Debug, Default)]
pub(in crate::admission) struct Nodes(Arc<AtomicU32>);

impl Nodes {
    /// Announces this node through Redis and counts, until the service stops.
    pub(in crate::admission) fn count_on(redis: &Redis, tasks: &Tasks) -> Self {
        let nodes = Self::default();
        tasks.spawn("nodes", run(nodes.clone(), redis.clone(), tasks.clone()));
        nodes
    }

    /// `None` while it is unknown, for example before Redis has answered.
    pub(super) fn number(&self) -> Option<u32> {
        Some(self.0.load(Relaxed)).filter(|nodes| *nodes > 0)
    }

    fn set(&self, nodes: u32) {
        self.0.store(nodes, Relaxed);
    }
}

async fn run(nodes: Nodes, redis: Redis, tasks: Tasks) {
    // Any name will do that no other node has.
    let name = ProductId::now_v7().to_string();
    let mut counted_at = Instant::now();
    loop {
        let number = announce(&redis, &name).await;
        let is_old = counted_at.elapsed() > FORGOTTEN_AFTER;
        if is_old || number >= nodes.number() {
            nodes.set(number.unwrap_or(0));
            counted_at = Instant::now();
        }
        if !tasks.pause(ANNOUNCE_EVERY).await {
            return;
        }
    }
}

async fn announce(redis: &Redis, name: &str) -> Option<u32> {
    let arguments = vec![
        Value::from(name),
        Value::from(FORGOTTEN_AFTER.as_secs_f64()),
    ];
    let keys = vec![NODES_KEY.to_owned()];
    let answer = SCRIPT.run(redis, keys, arguments, ANSWER_WITHIN).await;
    answer
        .inspect_err(|error| tracing::debug!(%error, "the nodes are not counted: {error}"))
        .ok()
}
