//! Many buyers at once: all start together, each goes on until it has a final answer.

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

/// A buyer who is told to try again does so this often before it counts as an answer.
const TRIES: usize = 60;
const PATIENCE: Duration = Duration::from_millis(40);

/// What the buyers were told.
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

/// `buyers` users want `quantity` units each, spread evenly over the services.
pub(crate) async fn rush(
    services: &[Service],
    product: Uuid,
    buyers: usize,
    quantity: i64,
) -> Tally {
    rush_of("buyer", services, product, buyers, quantity).await
}

/// The same with names of their own, for two crowds at one product.
pub(crate) async fn rush_of(
    crowd: &str,
    services: &[Service],
    product: Uuid,
    buyers: usize,
    quantity: i64,
) -> Tally {
    let start = Arc::new(Barrier::new(buyers));
    let mut running = JoinSet::new();
    for (buyer, service) in (0..buyers).zip(services.iter().cycle()) {
        let (front, start) = (service.front(), Arc::clone(&start));
        let user = format!("{crowd}-{buyer}");
        running.spawn(async move {
            start.wait().await;
            let _socket = SOCKETS.acquire().await.unwrap();
            persist(&front, &user, product, quantity).await
        });
    }
    let mut tally = Tally::default();
    while let Some(answer) = running.join_next().await {
        tally.count(answer.unwrap());
    }
    tally
}

/// What a real client does with `high_demand`: try again, for a while.
async fn persist(front: &Front, user: &str, product: Uuid, quantity: i64) -> Answer {
    let mut answer = front.buy(user, product, quantity).await;
    for _ in 1..TRIES {
        if answer.code() != "high_demand" {
            break;
        }
        tokio::time::sleep(PATIENCE).await;
        answer = front.buy(user, product, quantity).await;
    }
    if answer.status == 201 {
        assert_eq!(
            answer.json()["user_id"],
            user,
            "told of somebody else's order"
        );
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
