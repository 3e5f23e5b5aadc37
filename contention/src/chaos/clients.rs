//! The clients of a round: buyers who order, repeat, cancel and leave, and an admin who restocks.
//! They record every call.
#![expect(
    clippy::wildcard_enum_match_arm,
    reason = "a client reacts to a few of many answers"
)]

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::Context;
use parking_lot::Mutex;
use rand::{RngExt, rngs::StdRng};
use tokio::sync::watch;
use uuid::Uuid;

use super::calls::{Caller, Names, since};
use crate::{
    client::Address,
    history::{Answer, Call, Request},
    tokens::{Source, User},
};

/// Calls of one request at most, the repetitions included.
const CALLS_MAX: u32 = 5;
const BETWEEN_RESTOCKS: Duration = Duration::from_millis(900);
const POLL: Duration = Duration::from_millis(20);

/// What the clients of one product share.
#[derive(Debug)]
pub(crate) struct Market {
    pub(crate) product: Uuid,
    pub(crate) holds: bool,
    pub(crate) waitlist: bool,
    pub(crate) quantity_max: i64,
    /// Names the users.
    pub(crate) name: String,
    pub(crate) epoch: Instant,
    pub(crate) addresses: Vec<Address>,
    pub(crate) tokens: Source,
    pub(crate) admin: User,
    pub(crate) book: Mutex<Book>,
}

/// The sessions so far and their calls.
#[derive(Debug, Default)]
pub(crate) struct Book {
    pub(crate) calls: Vec<Call>,
    pub(crate) users: Vec<Arc<User>>,
}

/// A user with one key at most.
struct Session<'a> {
    market: &'a Market,
    caller: &'a mut Caller,
    random: &'a mut StdRng,
    number: usize,
    user: Arc<User>,
}

impl Market {
    /// Orders, repeats and cancels until the load stops.
    pub(crate) async fn buy(
        &self,
        mut random: StdRng,
        stopped: watch::Receiver<bool>,
    ) -> anyhow::Result<()> {
        let mut caller = Caller::new(&self.addresses);
        while !*stopped.borrow() {
            let quantity = random.random_range(1..=self.quantity_max);
            let place = Request::Place {
                quantity,
                keyed: random.random_range(0..10) < 7,
                waits: self.waitlist && random.random_range(0..10) < 6,
            };
            let mut session = self.session(&mut caller, &mut random)?;
            let answer = session.ask(&place, None).await;
            session.after(&answer).await;
            pause(&mut random, 5..40).await;
        }
        Ok(())
    }

    /// Adds units now and then, through any node.
    pub(crate) async fn restock(
        &self,
        mut random: StdRng,
        stopped: watch::Receiver<bool>,
    ) -> anyhow::Result<()> {
        let mut caller = Caller::new(&self.addresses);
        let mut last = Instant::now();
        while !*stopped.borrow() {
            tokio::time::sleep(POLL).await;
            if last.elapsed() > BETWEEN_RESTOCKS {
                last = Instant::now();
                let restock = Request::Restock(random.random_range(1..=3));
                let mut session = self.session(&mut caller, &mut random)?;
                session.call(&restock, None).await;
            }
        }
        Ok(())
    }

    /// Buys everything that is for sale, until every node has refused a buyer.
    ///
    /// # Errors
    /// When a node does not serve in time.
    pub(crate) async fn drain(&self, mut random: StdRng, within: Duration) -> anyhow::Result<()> {
        let mut caller = Caller::new(&self.addresses);
        let deadline = Instant::now() + within;
        let mut node = 0;
        while node < self.addresses.len() {
            let place = Request::Place {
                quantity: 1,
                keyed: true,
                waits: false,
            };
            let mut session = self.session(&mut caller, &mut random)?;
            match session.call_node(node, &place, None).await {
                Answer::SoldOut => node += 1,
                Answer::Created { .. } => {}
                _ => tokio::time::sleep(POLL).await,
            }
            anyhow::ensure!(
                Instant::now() < deadline,
                "node {} did not sell everything within {within:?} after the fault",
                node + 1
            );
        }
        Ok(())
    }

    fn session<'a>(
        &'a self,
        caller: &'a mut Caller,
        random: &'a mut StdRng,
    ) -> anyhow::Result<Session<'a>> {
        let mut book = self.book.lock();
        let number = book.users.len();
        let name = format!("{}-{number}", self.name);
        let user = self.tokens.buyer(&name).context("no token for a buyer")?;
        let user = Arc::new(user);
        book.users.push(Arc::clone(&user));
        Ok(Session {
            market: self,
            caller,
            random,
            number,
            user,
        })
    }
}

impl Session<'_> {
    /// Calls any node, and again while it may: after a refusal that promises that nothing was written,
    /// and after a lost answer with a key.
    async fn ask(&mut self, request: &Request, order: Option<Uuid>) -> Answer {
        let repeats = !matches!(request, Request::Place { keyed: false, .. });
        let mut answer = self.call(request, order).await;
        for _ in 1..CALLS_MAX {
            let again = match answer {
                Answer::NotWritten(_) => true,
                Answer::Unknown(_) => repeats,
                _ => false,
            };
            if !again {
                break;
            }
            pause(self.random, 20..200).await;
            answer = self.call(request, order).await;
        }
        answer
    }

    async fn call(&mut self, request: &Request, order: Option<Uuid>) -> Answer {
        let node = self.random.random_range(0..self.caller.nodes().max(1));
        self.call_node(node, request, order).await
    }

    async fn call_node(&mut self, node: usize, request: &Request, order: Option<Uuid>) -> Answer {
        let market = self.market;
        let keyed = matches!(request, Request::Place { keyed: true, .. });
        let by_admin = match request {
            Request::Restock(_) => true,
            Request::Cancel => !market.holds,
            Request::Place { .. } | Request::Leave => false,
        };
        let names = Names {
            product: market.product,
            token: if by_admin {
                &market.admin.token
            } else {
                &self.user.token
            },
            key: keyed.then_some("the-one-key"),
            order,
        };
        let start = since(market.epoch);
        let answer = self.caller.call(node, request, &names).await;
        market.book.lock().calls.push(Call {
            session: self.number,
            node: node + 1,
            request: request.clone(),
            start,
            end: since(market.epoch),
            answer: answer.clone(),
        });
        answer
    }

    /// Some buyers cancel what they have bought, some leave the waitlist.
    async fn after(&mut self, answer: &Answer) {
        let chance = self.random.random_range(0..10);
        match answer {
            Answer::Created { order, .. } if chance < 4 => {
                pause(self.random, 0..400).await;
                self.ask(&Request::Cancel, Some(*order)).await;
            }
            Answer::Waiting { .. } if chance < 2 => {
                pause(self.random, 0..300).await;
                self.ask(&Request::Leave, None).await;
            }
            _ => {}
        }
    }
}

async fn pause(random: &mut StdRng, millis: std::ops::Range<u64>) {
    tokio::time::sleep(Duration::from_millis(random.random_range(millis))).await;
}
