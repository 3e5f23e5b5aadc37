//! The users' limits over all nodes: Redis counts, many users in one round trip.
//!
//! Requests that come while Redis is asked are asked for together next, so the cost of a round
//! trip is shared as a lane's commit is. Who asks gets no word while Redis is away, silent or
//! slow; after such a failure it is left alone for a while, so that it costs nobody time.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use fred::types::Value;
use tokio::sync::{Notify, mpsc, oneshot};

use super::{BUCKET, Blocked};
use crate::{
    domain::UserId,
    redis::{Redis, rate_key, script::Script},
    tasks::Tasks,
};

static SCRIPT: Script = Script::new(include_str!("../rate_limit.lua"));

/// Users in one call: it keeps Redis busy for about a millisecond.
const BATCH_MAX: usize = 512;
/// Requests that wait for Redis; the next ones go by this node's buckets.
const QUEUE_MAX: usize = 16_384;
/// A Redis that takes longer is no help.
const ANSWER_WITHIN: Duration = Duration::from_millis(50);
/// How long Redis is left alone after it failed.
const AWAY: Duration = Duration::from_millis(500);
/// Cells that were used without asking are told this often, summed up by user.
const TELL_EVERY: Duration = Duration::from_millis(20);
/// Users who owe; further ones are in this node's buckets only.
const OWING_MAX: usize = 10_000;

#[derive(Debug)]
struct Ask {
    user: UserId,
    /// How long until the next cell; zero has taken one.
    reply: oneshot::Sender<Duration>,
}

#[derive(Debug)]
pub(super) struct Shared {
    asks: mpsc::Sender<Ask>,
    owed: Arc<Owed>,
}

/// Cells that users took without Redis being asked.
#[derive(Debug, Default)]
struct Owed {
    users: Mutex<HashMap<UserId, u32>>,
    some: Notify,
}

impl Owed {
    fn add(&self, user: &UserId) {
        let mut users = self.users.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(cells) = users.get_mut(user) {
            *cells = cells.saturating_add(1);
            return;
        }
        if users.len() < OWING_MAX {
            users.insert(Arc::clone(user), 1);
            self.some.notify_one();
        }
    }

    /// What a call has room for, and whether that was all.
    fn take(&self) -> (Vec<(UserId, u32)>, bool) {
        let mut users = self.users.lock().unwrap_or_else(PoisonError::into_inner);
        let taken = users.extract_if(|_, _| true).take(BATCH_MAX).collect();
        (taken, users.is_empty())
    }
}

impl Shared {
    pub(super) fn new(redis: Redis, cell: Duration, blocked: Blocked, tasks: &Tasks) -> Self {
        let (asks, inbox) = mpsc::channel(QUEUE_MAX);
        let owed = Arc::<Owed>::default();
        let counter = Counter {
            redis,
            cell,
            blocked,
            away_until: Instant::now(),
        };
        tasks.spawn(
            "rate limits",
            serve(counter, inbox, Arc::clone(&owed), tasks.clone()),
        );
        Self { asks, owed }
    }

    /// Asks for a cell: zero has taken it, else this long until there is one. None when Redis
    /// does not say.
    pub(super) async fn take(&self, user: &UserId) -> Option<Duration> {
        let (reply, answer) = oneshot::channel();
        let user = Arc::clone(user);
        self.asks.try_send(Ask { user, reply }).ok()?;
        answer.await.ok()
    }

    /// Takes a cell that was used already; Redis is told later.
    pub(super) fn owe(&self, user: &UserId) {
        self.owed.add(user);
    }
}

async fn serve(
    mut counter: Counter,
    mut inbox: mpsc::Receiver<Ask>,
    owed: Arc<Owed>,
    tasks: Tasks,
) {
    let mut asks = Vec::new();
    let mut tell_at = None::<Instant>;
    loop {
        let tell = async {
            match tell_at {
                Some(at) => tokio::time::sleep_until(at.into()).await,
                None => owed.some.notified().await,
            }
        };
        tokio::select! {
            // From then on this node's buckets decide.
            () = tasks.stopped() => return,
            received = inbox.recv_many(&mut asks, BATCH_MAX) => if received == 0 { return },
            () = tell => match tell_at.take() {
                Some(_) => {
                    let (users, all) = owed.take();
                    counter.tell(&users).await;
                    // Those who ask may come in between.
                    tell_at = (!all).then(Instant::now);
                }
                None => tell_at = Some(Instant::now() + TELL_EVERY),
            },
        }
        counter.ask(&mut asks).await;
    }
}

/// The way to Redis.
#[derive(Debug)]
struct Counter {
    redis: Redis,
    cell: Duration,
    blocked: Blocked,
    away_until: Instant,
}

impl Counter {
    /// Asks for everybody who waits. Who gets no reply sees the sender go.
    async fn ask(&mut self, asks: &mut Vec<Ask>) {
        let batch = std::mem::take(asks);
        let users: Vec<_> = batch.iter().map(|ask| (&ask.user, 0)).collect();
        let waits = self.run(&users).await;
        for (ask, wait) in batch.into_iter().zip(waits) {
            let _ = ask.reply.send(wait);
        }
    }

    /// Tells what was used already, and remembers who has nothing left.
    async fn tell(&mut self, owed: &[(UserId, u32)]) {
        let owed: Vec<_> = owed.iter().map(|(user, cells)| (user, *cells)).collect();
        for ((user, _), wait) in owed.iter().zip(self.run(&owed).await) {
            if wait > Duration::ZERO {
                self.blocked.insert(user, wait);
            }
        }
    }

    /// The script's answers in the order of the users; none at all when Redis does not say.
    async fn run(&mut self, users: &[(&UserId, u32)]) -> Vec<Duration> {
        if users.is_empty() || Instant::now() < self.away_until {
            return Vec::new();
        }
        let micros = |time: Duration| Value::from(time.as_secs_f64() * 1e6);
        let mut arguments = vec![micros(self.cell), micros(BUCKET)];
        arguments.extend(users.iter().map(|(_, cells)| Value::from(*cells)));
        let keys = users.iter().map(|(user, _)| rate_key(user)).collect();
        let waits: Result<Vec<u64>, _> = SCRIPT
            .run(&self.redis, keys, arguments, ANSWER_WITHIN)
            .await;
        match waits {
            Ok(waits) => waits.into_iter().map(Duration::from_micros).collect(),
            Err(error) => {
                tracing::debug!(%error, "rate limits by this node alone: {error}");
                self.away_until = Instant::now() + AWAY;
                Vec::new()
            }
        }
    }
}
