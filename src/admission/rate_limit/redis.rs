//! Rate limits over all nodes: a Lua script in Redis (GCRA), many users in one round trip.
//!
//! Requests that arrive during a round trip share the next one. While Redis is unreachable or slow,
//! callers use this node's buckets; after such a failure Redis is not called for a while, so that
//! it delays no request.

use std::{
    collections::HashMap,
    sync::Arc,
    time::{Duration, Instant},
};

use fred::types::Value;
use parking_lot::Mutex;
use tokio::sync::{Notify, mpsc, oneshot};

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
/// How often cells that were used without a call are reported to Redis, summed up by user.
const REPORT_EVERY: Duration = Duration::from_millis(20);
/// Users with unreported cells; further ones count in this node's buckets only.
const UNREPORTED_MAX: usize = 10_000;

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
    /// Cells that the user took before without a call.
    owed: u32,
    reply: oneshot::Sender<Counted>,
}

#[derive(Debug)]
pub(super) struct RedisLimiter {
    checks: mpsc::Sender<Check>,
    unreported: Arc<Unreported>,
}

/// Cells that users took without a call to Redis.
#[derive(Debug, Default)]
struct Unreported {
    users: Mutex<HashMap<UserId, u32>>,
    added: Notify,
}

impl Unreported {
    fn add(&self, user: &UserId, cells: u32) {
        let mut users = self.users.lock();
        if let Some(sum) = users.get_mut(user) {
            *sum = sum.saturating_add(cells);
            return;
        }
        if users.len() < UNREPORTED_MAX {
            users.insert(Arc::clone(user), cells);
            self.added.notify_one();
        }
    }

    /// The cells that one call can report, and whether none remain.
    fn take(&self) -> (Vec<(UserId, u32)>, bool) {
        let mut users = self.users.lock();
        let taken = users.extract_if(|_, _| true).take(BATCH_MAX).collect();
        (taken, users.is_empty())
    }
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
        let unreported = Arc::<Unreported>::default();
        let counter = Counter {
            redis,
            key,
            rule,
            buckets,
            paused_until: Instant::now(),
        };
        tasks.spawn(
            "rate limits",
            serve(counter, inbox, Arc::clone(&unreported), tasks.clone()),
        );
        Self { checks, unreported }
    }

    /// Takes the cells that the user owes, and one more if the limit has it. `None` without an answer
    /// from Redis.
    pub(super) async fn take(&self, user: &UserId, owed: u32) -> Option<Counted> {
        let (reply, answer) = oneshot::channel();
        let user = Arc::clone(user);
        self.checks.try_send(Check { user, owed, reply }).ok()?;
        answer.await.ok()
    }

    /// Counts cells that were taken on this node; they are reported to Redis later.
    pub(super) fn report_later(&self, user: &UserId, cells: u32) {
        self.unreported.add(user, cells);
    }
}

async fn serve(
    mut counter: Counter,
    mut inbox: mpsc::Receiver<Check>,
    unreported: Arc<Unreported>,
    tasks: Tasks,
) {
    let mut checks = Vec::new();
    let mut report_at = None::<Instant>;
    loop {
        let report = async {
            match report_at {
                Some(at) => tokio::time::sleep_until(at.into()).await,
                None => unreported.added.notified().await,
            }
        };
        tokio::select! {
            // Later requests use this node's buckets.
            () = tasks.stopped() => return,
            received = inbox.recv_many(&mut checks, BATCH_MAX) => if received == 0 { return },
            () = report => match report_at.take() {
                Some(_) => {
                    let (users, is_last) = unreported.take();
                    counter.report(&users).await;
                    // Checks may be served in between.
                    report_at = (!is_last).then(Instant::now);
                }
                None => report_at = Some(Instant::now() + REPORT_EVERY),
            },
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
        let first = counted.len().saturating_sub(batch.len());
        for (check, counted) in batch.into_iter().zip(counted.drain(first..)) {
            self.buckets.record(&check.user, counted, Instant::now());
            let _ = check.reply.send(counted);
        }
    }

    /// Reports cells that were taken already, and learns who is over the limit.
    async fn report(&mut self, unreported: &[(UserId, u32)]) {
        let cells: Vec<_> = unreported
            .iter()
            .map(|(user, cells)| (user, *cells))
            .collect();
        for ((user, _), counted) in cells.iter().zip(self.run(&cells).await) {
            self.buckets.record(user, counted, Instant::now());
        }
    }

    /// The script's results in the order of the users; empty without an answer from Redis.
    async fn run(&mut self, users: &[(&UserId, u32)]) -> Vec<Counted> {
        if users.is_empty() || Instant::now() < self.paused_until {
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
