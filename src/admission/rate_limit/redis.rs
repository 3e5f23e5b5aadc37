//! Rate limits over all nodes: a Lua script in Redis (GCRA), many users in one round trip.
//!
//! Requests that arrive during a round trip share the next one. While Redis is unreachable or slow,
//! callers use this node's buckets; after such a failure Redis is not called for a while, so that
//! it delays no request. It learns later of the cells that were taken meanwhile.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use fred::types::Value;
use tokio::sync::{
    mpsc::{self, error::TrySendError},
    oneshot,
};

use super::{
    super::gcra::{BUCKET, Gcra},
    RateKey,
    buckets::Buckets,
};
use crate::{
    domain::UserId,
    redis::{Redis, script::Script},
    tasks::Tasks,
};

static SCRIPT: Script = Script::new(include_str!("../rate_limit.lua"));

/// Users in one call: it keeps Redis busy for about a millisecond.
const BATCH_MAX: usize = 512;
/// Requests that wait for Redis; further ones use this node's buckets.
const QUEUE_MAX: usize = 16_384;
/// Time limit of a call to Redis.
const ANSWER_WITHIN: Duration = Duration::from_millis(50);
/// A cell that is requested, where the script expects the number of cells that were taken.
const REQUEST: u32 = 0;
/// How long Redis is not called after it failed.
const FAILURE_PAUSE: Duration = Duration::from_millis(500);

/// The state of a user's bucket over all nodes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Counted {
    /// The requested cell was taken; so many are left.
    Left(u32),
    /// Over the limit: the time until the next cell.
    Over(Duration),
}

impl From<i64> for Counted {
    /// From the script's result.
    fn from(result: i64) -> Self {
        let size = result.unsigned_abs();
        match result {
            1.. => Self::Over(Duration::from_micros(size)),
            _ => Self::Left(u32::try_from(size).unwrap_or(u32::MAX)),
        }
    }
}

#[derive(Debug)]
struct Check {
    user: UserId,
    /// Cells that the user took before without a call, or without an answer.
    owed: u32,
    /// Whether this node admits the request without an answer.
    admitted: bool,
    reply: oneshot::Sender<Counted>,
}

impl Check {
    /// Without an answer, Redis learns of the cells with a later question.
    fn stays_owed(&self, buckets: &Buckets) {
        let cells = self.owed.saturating_add(self.admitted.into());
        buckets.owe(&self.user, cells, Instant::now());
    }
}

#[derive(Debug)]
pub(super) struct RedisLimiter {
    checks: mpsc::Sender<Check>,
    buckets: Arc<Buckets>,
}

impl RedisLimiter {
    pub(super) fn new(
        redis: Redis,
        key: RateKey,
        rule: Gcra,
        buckets: Arc<Buckets>,
        tasks: &Tasks,
    ) -> Self {
        let (checks, inbox) = mpsc::channel(QUEUE_MAX);
        let counter = Counter {
            redis,
            key,
            rule,
            buckets: Arc::clone(&buckets),
            paused_until: Instant::now(),
        };
        tasks.spawn("rate limits", serve(counter, inbox, tasks.clone()));
        Self { checks, buckets }
    }

    /// Takes the cells that the user owes, and one more if the limit has it. `None` without an answer
    /// from Redis; `admitted` says whether this node admits the request then.
    pub(super) async fn take(&self, user: &UserId, owed: u32, admitted: bool) -> Option<Counted> {
        let (reply, answer) = oneshot::channel();
        let check = Check {
            user: Arc::clone(user),
            owed,
            admitted,
            reply,
        };
        if let Err(TrySendError::Full(check)) = self.checks.try_send(check) {
            check.stays_owed(&self.buckets);
            return None;
        }
        answer.await.ok()
    }
}

async fn serve(mut counter: Counter, mut inbox: mpsc::Receiver<Check>, tasks: Tasks) {
    let mut checks = Vec::new();
    loop {
        tokio::select! {
            // Later requests use this node's buckets.
            () = tasks.stopped() => return,
            received = inbox.recv_many(&mut checks, BATCH_MAX) => if received == 0 { return },
        }
        counter.check(&mut checks).await;
    }
}

/// Runs the script, with a pause after a failure.
#[derive(Debug)]
struct Counter {
    redis: Redis,
    key: RateKey,
    rule: Gcra,
    buckets: Arc<Buckets>,
    paused_until: Instant,
}

impl Counter {
    /// Answers the waiting checks; without an answer from Redis their senders are dropped.
    async fn check(&mut self, checks: &mut Vec<Check>) {
        let batch = std::mem::take(checks);
        let owed = batch.iter().map(|check| (&check.user, check.owed));
        let owed = owed.filter(|(_, cells)| *cells > 0);
        // What the users owe is counted before they ask for more.
        let users: Vec<_> = owed
            .chain(batch.iter().map(|check| (&check.user, REQUEST)))
            .collect();
        let mut counted = self.run(&users).await;
        if counted.is_empty() {
            // Each call that reaches Redis without an answer in time counts the debt again; the
            // script takes a tenth more than the bucket has at most.
            for check in batch {
                check.stays_owed(&self.buckets);
            }
            return;
        }
        let first = counted.len().saturating_sub(batch.len());
        for (check, counted) in batch.into_iter().zip(counted.drain(first..)) {
            self.buckets.record(&check.user, counted, Instant::now());
            let _ = check.reply.send(counted);
        }
    }

    /// The script's results in the order of the users; empty without an answer from Redis.
    async fn run(&mut self, users: &[(&UserId, u32)]) -> Vec<Counted> {
        if Instant::now() < self.paused_until {
            return Vec::new();
        }
        let micros = |time: Duration| Value::from(time.as_secs_f64() * 1e6);
        let mut arguments = vec![micros(self.rule.cell()), micros(BUCKET)];
        arguments.extend(users.iter().map(|(_, cells)| Value::from(*cells)));
        let keys = users.iter().map(|(user, _)| (self.key)(user)).collect();
        let results: Result<Vec<i64>, _> = SCRIPT
            .run(&self.redis, keys, arguments, ANSWER_WITHIN)
            .await;
        match results {
            Ok(results) => results.into_iter().map(Counted::from).collect(),
            Err(error) => {
                tracing::debug!(%error, "rate limits use this node's buckets only: {error}");
                self.paused_until = Instant::now() + FAILURE_PAUSE;
                Vec::new()
            }
        }
    }
}
