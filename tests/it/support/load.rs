//! Continuous order load with retries, for tests that inject faults meanwhile.

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use tokio::task::JoinSet;
use uuid::Uuid;

use super::{SOON, eventually, front::Front, when};

/// A buyer without a final answer retries after this time.
const RETRY: Duration = Duration::from_millis(25);
/// No fault of a test lasts longer than this.
const GIVES_UP: Duration = Duration::from_mins(1);

/// The current address of a service; a restart changes it.
pub(crate) type Door = Arc<Mutex<Front>>;

pub(crate) fn door(front: Front) -> Door {
    Arc::new(Mutex::new(front))
}

/// Each worker runs one buyer after the other through its door until `finish`.
#[derive(Debug)]
pub(crate) struct Load {
    workers: JoinSet<()>,
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    product: Uuid,
    next_buyer: AtomicUsize,
    ending: AtomicBool,
    received: Mutex<Told>,
}

/// The answers to all buyers.
#[derive(Clone, Debug, Default)]
pub(crate) struct Told {
    /// Ids of the orders answered 201, each buyer's in the order of the answers.
    pub(crate) orders: Vec<String>,
    /// The number of refusals by code, final or not.
    pub(crate) refusals: BTreeMap<String, usize>,
    /// Connections that failed or broke before the answer.
    pub(crate) broken: usize,
    /// The longest time from a request to its answer.
    pub(crate) slowest: Duration,
    /// Buyers who got a final answer.
    pub(crate) served: usize,
}

impl Told {
    pub(crate) fn refused(&self, code: &str) -> usize {
        self.refusals.get(code).copied().unwrap_or_default()
    }
}

impl Load {
    pub(crate) fn start(doors: &[Door], product: Uuid, workers: usize) -> Self {
        let shared = Arc::new(Shared {
            product,
            next_buyer: AtomicUsize::default(),
            ending: AtomicBool::default(),
            received: Mutex::default(),
        });
        let mut running = JoinSet::new();
        for (_, door) in (0..workers).zip(doors.iter().cycle()) {
            let (door, shared) = (Arc::clone(door), Arc::clone(&shared));
            running.spawn(async move { shared.work(&door).await });
        }
        Self {
            workers: running,
            shared,
        }
    }

    pub(crate) fn told(&self) -> Told {
        self.shared.received.lock().unwrap().clone()
    }

    /// Waits until `more` further buyers have their orders.
    pub(crate) async fn sells(&self, more: usize) {
        let goal = self.told().orders.len() + more;
        let what = format!("{more} more orders");
        eventually(&what, SOON * 2, async || {
            when(self.told().orders.len() >= goal)
        })
        .await;
    }

    /// Starts no new buyers; the current ones continue to a final answer.
    pub(crate) async fn finish(mut self) -> Told {
        self.shared.ending.store(true, Ordering::Relaxed);
        while let Some(worker) = self.workers.join_next().await {
            worker.unwrap();
        }
        self.told()
    }
}

impl Shared {
    async fn work(&self, door: &Door) {
        while !self.ending.load(Ordering::Relaxed) {
            let buyer = self.next_buyer.fetch_add(1, Ordering::Relaxed);
            self.serve(door, &format!("buyer-{buyer}")).await;
        }
    }

    /// One buyer with one `Idempotency-Key`, until the answer is final.
    async fn serve(&self, door: &Door, buyer: &str) {
        let deadline = Instant::now() + GIVES_UP;
        while !self.attempt(door, buyer).await {
            assert!(Instant::now() < deadline, "{buyer} was never served");
            tokio::time::sleep(RETRY).await;
        }
        self.received.lock().unwrap().served += 1;
    }

    /// Whether the answer was final.
    async fn attempt(&self, door: &Door, buyer: &str) -> bool {
        let front = door.lock().unwrap().clone();
        let begun = Instant::now();
        let answer = front
            .order(buyer, self.product, 1)
            .key(buyer)
            .try_send()
            .await;
        let mut received = self.received.lock().unwrap();
        let Ok(answer) = answer else {
            received.broken += 1;
            return false;
        };
        received.slowest = received.slowest.max(begun.elapsed());
        if answer.status == 201 {
            let order = answer.json();
            assert_eq!(order["user_id"], buyer, "an order of another user");
            received
                .orders
                .push(order["id"].as_str().unwrap().to_owned());
            return true;
        }
        answer.problem();
        *received.refusals.entry(answer.code()).or_default() += 1;
        answer.status == 409
    }
}
