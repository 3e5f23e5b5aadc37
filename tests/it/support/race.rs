//! Concurrent buyers: all start at once, and each retries until a final answer.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use serde_json::Value;
use tokio::{
    sync::{Barrier, Semaphore},
    task::JoinSet,
};
use uuid::Uuid;

use super::{
    front::Front,
    http::{Answer, Call},
    service::Service,
};

/// Sockets of all races of this program together: a machine may allow a process 1,024 files.
static SOCKETS: Semaphore = Semaphore::const_new(400);

/// Tries of a buyer at `high_demand` before it counts as the answer.
const TRIES: usize = 60;
const RETRY: Duration = Duration::from_millis(40);

/// The answers to the buyers.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    pub(crate) orders: Vec<Value>,
    pub(crate) refusals: BTreeMap<String, Vec<Answer>>,
}

impl Tally {
    pub(crate) fn refused(&self, code: &str) -> usize {
        self.refusals.get(code).map_or(0, Vec::len)
    }

    fn count(&mut self, answer: Answer) {
        if answer.status == 201 {
            self.orders.push(answer.json());
        } else {
            answer.problem();
            self.refusals.entry(answer.code()).or_default().push(answer);
        }
    }
}

/// `buyers` users order `quantity` units each, spread evenly over the services.
pub(crate) async fn rush(
    services: &[Service],
    product: Uuid,
    buyers: usize,
    quantity: i64,
) -> Tally {
    rush_of("buyer", services, product, buyers, quantity).await
}

/// The same with a prefix for the user names, for two groups of buyers at one product.
pub(crate) async fn rush_of(
    prefix: &str,
    services: &[Service],
    product: Uuid,
    buyers: usize,
    quantity: i64,
) -> Tally {
    let start = Arc::new(Barrier::new(buyers));
    let mut running = JoinSet::new();
    for (buyer, service) in (0..buyers).zip(services.iter().cycle()) {
        let (front, start) = (service.front(), Arc::clone(&start));
        let user = format!("{prefix}-{buyer}");
        running.spawn(async move {
            start.wait().await;
            let _socket = SOCKETS.acquire().await.unwrap();
            buy_with_retries(&front, &user, product, quantity).await
        });
    }
    let mut tally = Tally::default();
    while let Some(answer) = running.join_next().await {
        tally.count(answer.unwrap());
    }
    tally
}

/// Retries at `high_demand` for a limited time, as a real client does.
async fn buy_with_retries(front: &Front, user: &str, product: Uuid, quantity: i64) -> Answer {
    let mut answer = front.buy(user, product, quantity).await;
    for _ in 1..TRIES {
        if answer.code() != "high_demand" {
            break;
        }
        tokio::time::sleep(RETRY).await;
        answer = front.buy(user, product, quantity).await;
    }
    if answer.status == 201 {
        assert_eq!(answer.json()["user_id"], user, "an order of another user");
    }
    answer
}

/// Sends prepared calls all together and returns their answers in the same order.
pub(crate) async fn together(calls: Vec<Call>) -> Vec<Answer> {
    let start = Arc::new(Barrier::new(calls.len()));
    let mut running = JoinSet::new();
    for (place, call) in calls.into_iter().enumerate() {
        let start = Arc::clone(&start);
        running.spawn(async move {
            start.wait().await;
            let _socket = SOCKETS.acquire().await.unwrap();
            (place, call.send().await)
        });
    }
    let mut answers = running.join_all().await;
    answers.sort_by_key(|(place, _)| *place);
    answers.into_iter().map(|(_, answer)| answer).collect()
}
