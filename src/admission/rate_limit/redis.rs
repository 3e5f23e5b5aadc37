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

use super::{BUCKET, Blocked, RateKey};
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
/// How long Redis is not called after it failed.
const FAILURE_PAUSE: Duration = Duration::from_millis(500);
/// How often cells that were used without a call are reported to Redis, summed up by user.
const REPORT_EVERY: Duration = Duration::from_millis(20);
/// Users with unreported cells; further ones count in this node's buckets only.
const UNREPORTED_MAX: usize = 10_000;

#[derive(Debug)]
struct Check {
    user: UserId,
    /// The time until the next cell; zero when a cell was taken.
    reply: oneshot::Sender<Duration>,
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
    fn add(&self, user: &UserId) {
        let mut users = self.users.lock();
        if let Some(cells) = users.get_mut(user) {
            *cells = cells.saturating_add(1);
            return;
        }
        if users.len() < UNREPORTED_MAX {
            users.insert(Arc::clone(user), 1);
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
        cell: Duration,
        blocked: Blocked,
        tasks: &Tasks,
    ) -> Self {
        let (checks, inbox) = mpsc::channel(QUEUE_MAX);
        let unreported = Arc::<Unreported>::default();
        let counter = Counter {
            redis,
            key,
            cell,
            blocked,
            paused_until: Instant::now(),
        };
        tasks.spawn(
            "rate limits",
            serve(counter, inbox, Arc::clone(&unreported), tasks.clone()),
        );
        Self { checks, unreported }
    }

    /// Takes a cell: zero when it was taken, else the time until the next one. `None` without an
    /// answer from Redis.
    pub(super) async fn take(&self, user: &UserId) -> Option<Duration> {
        let (reply, answer) = oneshot::channel();
        let user = Arc::clone(user);
        self.checks.try_send(Check { user, reply }).ok()?;
        answer.await.ok()
    }

    /// Counts a cell that was taken on this node; it is reported to Redis later.
    pub(super) fn report_later(&self, user: &UserId) {
        self.unreported.add(user);
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
    cell: Duration,
    blocked: Blocked,
    paused_until: Instant,
}

impl Counter {
    /// Answers the waiting checks; without an answer from Redis their senders are dropped.
    async fn check(&mut self, checks: &mut Vec<Check>) {
        let batch = std::mem::take(checks);
        let users: Vec<_> = batch.iter().map(|check| (&check.user, 0)).collect();
        let waits = self.run(&users).await;
        for (check, wait) in batch.into_iter().zip(waits) {
            let _ = check.reply.send(wait);
        }
    }

    /// Reports cells that were taken already, and blocks users without cells.
    async fn report(&mut self, unreported: &[(UserId, u32)]) {
        let cells: Vec<_> = unreported
            .iter()
            .map(|(user, cells)| (user, *cells))
            .collect();
        for ((user, _), wait) in cells.iter().zip(self.run(&cells).await) {
            if wait > Duration::ZERO {
                self.blocked.insert(user, wait);
            }
        }
    }

    /// The script's results in the order of the users; empty without an answer from Redis.
    async fn run(&mut self, users: &[(&UserId, u32)]) -> Vec<Duration> {
        if users.is_empty() || Instant::now() < self.paused_until {
            return Vec::new();
        }
        let micros = |time: Duration| Value::from(time.as_secs_f64() * 1e6);
        let mut arguments = vec![micros(self.cell), micros(BUCKET)];
        arguments.extend(users.iter().map(|(_, cells)| Value::from(*cells)));
        let keys = users.iter().map(|(user, _)| (self.key)(user)).collect();
        let waits: Result<Vec<u64>, _> = SCRIPT
            .run(&self.redis, keys, arguments, ANSWER_WITHIN)
            .await;
        match waits {
            Ok(waits) => waits.into_iter().map(Duration::from_micros).collect(),
            Err(error) => {
                tracing::debug!(%error, "rate limits use this node's buckets only: {error}");
                self.paused_until = Instant::now() + FAILURE_PAUSE;
                Vec::new()
            }
        }
    }
}
