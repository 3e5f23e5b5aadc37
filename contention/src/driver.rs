//! Sends the load of a scenario in an open loop: on schedule, independent of answers.
//!
//! Every arrival is a task that starts at its intended time, and latency counts from there, so that
//! the latencies include the requests that a slow service delays (coordinated omission).

use std::{
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    time::{Duration, Instant},
};

use rand::{RngExt, SeedableRng, rngs::StdRng, seq::SliceRandom};
use tokio::task::JoinSet;

use self::{
    request_mix::RequestMix,
    requests::{Load, Round},
};
use crate::{
    client::{Address, NoResponse},
    record::Planned,
    scenario::{Arrival, Phase, Scenario},
};

pub(crate) mod bad;
pub(crate) mod request_mix;
pub(crate) mod requests;

/// Time to spawn the tasks before the first intended start.
const HEAD_START: Duration = Duration::from_millis(20);

/// Sends all phases and returns after the last answer.
pub(crate) async fn drive(
    load: &Arc<Load>,
    scenario: &Scenario,
    nodes: &[Address],
    seed: u64,
) -> Result<(), NoResponse> {
    let mut random = StdRng::seed_from_u64(seed);
    let numbers = Arc::new(AtomicU32::new(0));
    let mut first = 0;
    for phase in &scenario.phase {
        let users = PhaseUsers {
            scenario,
            phase,
            first,
            numbers: &numbers,
        };
        let round = users.open(load, nodes).await?;
        match phase.arrival {
            Arrival::AllAtOnce => users.all_at_once(&round, &mut random).await,
            Arrival::Rate => users.at_rate(&round, &mut random).await,
            Arrival::BackToBack => users.back_to_back(&round, &mut random).await,
            Arrival::BadRequests => bad::send_all(&round).await,
        }
        first = phase.arrivals(first, scenario.users).end;
    }
    Ok(())
}

/// The users of one phase.
struct PhaseUsers<'a> {
    scenario: &'a Scenario,
    phase: &'a Phase,
    /// The first user without an earlier arrival.
    first: u32,
    numbers: &'a Arc<AtomicU32>,
}

impl PhaseUsers<'_> {
    fn arrivals(&self) -> u32 {
        let users = self.phase.arrivals(self.first, self.scenario.users).len();
        let users = u32::try_from(users).unwrap_or(u32::MAX);
        users.saturating_mul(if self.phase.every_product {
            self.scenario.products
        } else {
            1
        })
    }

    async fn open(&self, load: &Arc<Load>, nodes: &[Address]) -> Result<Arc<Round>, NoResponse> {
        let wanted = self
            .phase
            .connections
            .unwrap_or_else(|| self.arrivals())
            .max(1);
        let connections = usize::try_from(wanted).unwrap_or(usize::MAX);
        let round = Arc::new(Round::new(load, nodes, connections));
        if matches!(self.phase.arrival, Arrival::AllAtOnce | Arrival::BackToBack) {
            round.pool.open(connections).await?;
        }
        Ok(round)
    }

    async fn all_at_once(&self, round: &Arc<Round>, random: &mut StdRng) {
        let plan = self.plan(self.arrivals(), random);
        let start = Instant::now() + HEAD_START;
        tokio::time::sleep_until(start.into()).await;
        let mut arrivals = JoinSet::new();
        for planned in plan {
            arrivals.spawn(Arc::clone(round).send(planned, start));
        }
        arrivals.join_all().await;
    }

    async fn at_rate(&self, round: &Arc<Round>, random: &mut StdRng) {
        let plan = self.plan(self.arrivals(), random);
        let start = Instant::now() + HEAD_START;
        let every = Duration::from_secs(1) / self.phase.rate.max(1);
        let mut arrivals = JoinSet::new();
        for (number, planned) in (0..).zip(plan) {
            let due = start + every.saturating_mul(number);
            // The timer is coarser than the schedule: all arrivals that are due start at once.
            if due > Instant::now() {
                tokio::time::sleep_until(due.into()).await;
            }
            arrivals.spawn(Arc::clone(round).send(planned, due));
        }
        arrivals.join_all().await;
    }

    async fn back_to_back(&self, round: &Arc<Round>, random: &mut StdRng) {
        let request_mix = Arc::new(RequestMix::new(&self.phase.mix, 1_000, random));
        let until = Instant::now() + Duration::from_secs(self.phase.seconds.into());
        let users = self.scenario.users.max(1);
        let products = usize::try_from(self.scenario.products).unwrap_or(1).max(1);
        let mut senders = JoinSet::new();
        for _ in 0..self.phase.connections.unwrap_or(1) {
            let (round, request_mix) = (Arc::clone(round), Arc::clone(&request_mix));
            let numbers = Arc::clone(self.numbers);
            senders.spawn(async move {
                while Instant::now() < until {
                    let number = numbers.fetch_add(1, Ordering::Relaxed);
                    let user = number % users;
                    let planned = Planned {
                        user,
                        product: usize::try_from(user).unwrap_or_default() % products,
                        kind: request_mix.kind(number),
                        number,
                    };
                    Arc::clone(&round).send(planned, Instant::now()).await;
                }
            });
        }
        senders.join_all().await;
    }

    /// The requests of the phase, in the order of arrival.
    fn plan(&self, arrivals: u32, random: &mut StdRng) -> Vec<Planned> {
        let request_mix = RequestMix::new(&self.phase.mix, arrivals, random);
        let (users, products) = (self.scenario.users.max(1), self.scenario.products.max(1));
        let user_and_product = |arrival: u32| {
            if self.phase.yardstick {
                return (arrival % users, products);
            }
            if self.phase.one_user {
                return (self.first, arrival % products);
            }
            if self.phase.every_product {
                return (arrival / products, arrival % products);
            }
            // With fewer users than arrivals, users arrive again.
            ((self.first + arrival) % users, arrival % products)
        };
        let mut plan: Vec<Planned> = (0..arrivals)
            .map(|arrival| {
                let (user, product) = user_and_product(arrival);
                let greedy = random.random_range(0..100) < self.phase.greedy;
                Planned {
                    // The greedy user's number follows the last ordinary one.
                    user: if greedy { users } else { user },
                    product: usize::try_from(product).unwrap_or_default(),
                    kind: request_mix.kind(arrival),
                    number: self.numbers.fetch_add(1, Ordering::Relaxed),
                }
            })
            .collect();
        // In random order, so that the buyers compete for all products at the same time.
        if self.phase.every_product {
            plan.shuffle(random);
        }
        plan
    }
}
