//! A shop that sells one operation after another, and the overlapping calls that its clients would
//! have recorded.

use std::collections::{BTreeMap, VecDeque};

use rand::{RngExt, SeedableRng, rngs::SmallRng};
use uuid::Uuid;

use super::{
    super::{Reading, Terms},
    Answer, Call, History, OrderSeen, Request, Time,
};

pub(super) const MS: Time = 1_000_000;
/// Between two operations.
const STEP: Time = 10 * MS;
/// How far before and after its effect a call may begin and end.
const OVERLAP: Time = 150 * MS;
/// The same on a waitlist, where the order of the calls matters more.
const OVERLAP_WAITING: Time = 40 * MS;
const HOLD: Time = 400 * MS;

#[derive(Clone, Copy, Debug)]
pub(super) struct SaleTerms {
    pub(super) seed: u64,
    pub(super) stock: i64,
    pub(super) waitlist: bool,
    pub(super) holds: bool,
    pub(super) quantity_max: i64,
    pub(super) operations: usize,
}

pub(super) struct Sale {
    terms: SaleTerms,
    random: SmallRng,
    now: Time,
    total: i64,
    stock: i64,
    reserved: i64,
    queue: VecDeque<(usize, i64)>,
    orders: BTreeMap<usize, OrderSeen>,
    /// With the moment of effect.
    calls: Vec<(Time, Call)>,
    sessions: usize,
}

impl Sale {
    pub(super) fn run(terms: SaleTerms) -> History {
        let mut sale = Self {
            terms,
            random: SmallRng::seed_from_u64(terms.seed),
            now: 500 * MS,
            total: terms.stock,
            stock: terms.stock,
            reserved: 0,
            queue: VecDeque::new(),
            orders: BTreeMap::new(),
            calls: Vec::new(),
            sessions: 0,
        };
        for _ in 0..terms.operations {
            sale.now += STEP;
            sale.expire();
            match sale.random.random_range(0..10) {
                0..=5 => sale.place(),
                6 | 7 => sale.cancel(),
                8 => sale.leave(),
                _ => sale.restock(),
            }
        }
        sale.history()
    }

    fn chance(&mut self, percent: u32) -> bool {
        self.random.random_range(0..100) < percent
    }

    fn call(&mut self, session: usize, request: Request, answer: Answer) {
        let call = Call {
            session,
            node: 1,
            request,
            start: self.now,
            end: self.now,
            answer,
        };
        self.calls.push((self.now, call));
    }

    fn new_order(&mut self, session: usize, quantity: i64) -> Uuid {
        let id = Uuid::from_u128(1_000 + u128::try_from(session).unwrap_or(0));
        let order = OrderSeen {
            id,
            session: Some(session),
            quantity,
            status: if self.terms.holds {
                "pending"
            } else {
                "confirmed"
            }
            .to_owned(),
            deadline: self.terms.holds.then_some(self.now + HOLD),
            made: self.now,
        };
        self.orders.insert(session, order);
        id
    }

    fn place(&mut self) {
        let session = self.sessions;
        self.sessions += 1;
        let quantity = self.random.random_range(1..=self.terms.quantity_max);
        let (keyed, waits) = (self.chance(70), self.terms.waitlist && self.chance(70));
        let request = Request::Place {
            quantity,
            keyed,
            waits,
        };
        let for_sale = self.stock - self.reserved;
        let answer = if quantity <= for_sale {
            self.stock -= quantity;
            let order = self.new_order(session, quantity);
            Answer::Created {
                order,
                replayed: false,
            }
        } else if waits {
            self.queue.push_back((session, quantity));
            let position = i64::try_from(self.queue.len()).ok();
            Answer::Waiting {
                position,
                replayed: false,
            }
        } else if for_sale == 0 {
            Answer::SoldOut
        } else {
            Answer::Insufficient(for_sale)
        };
        let is_lost = self.chance(15);
        if !is_lost || !keyed {
            let answer = if is_lost {
                Answer::Unknown("cut".to_owned())
            } else {
                answer
            };
            self.call(session, request, answer);
            return;
        }
        // The client asks again with its key.
        self.call(session, request.clone(), Answer::Unknown("cut".to_owned()));
        let again = match answer {
            Answer::Created { order, .. } => Answer::Created {
                order,
                replayed: true,
            },
            Answer::Waiting { position, .. } => Answer::Waiting {
                position,
                replayed: true,
            },
            refused => refused,
        };
        self.now += STEP;
        self.call(session, request, again);
    }

    /// A buyer who knows the order from an answer cancels it, unless its hold is over.
    fn cancel(&mut self) {
        let now = self.now;
        let calls = &self.calls;
        let knows = |session: usize| {
            calls.iter().any(|(_, call)| {
                call.session == session && matches!(call.answer, Answer::Created { .. })
            })
        };
        let is_live = |order: &OrderSeen| ["pending", "confirmed"].contains(&order.status.as_str());
        let open = self.orders.iter().filter(|(session, order)| {
            is_live(order) && knows(**session) && order.deadline.is_none_or(|end| end > now)
        });
        let open: Vec<usize> = open.map(|(session, _)| *session).collect();
        if open.is_empty() {
            return;
        }
        let session = open[self.random.random_range(0..open.len())];
        let quantity = self.end(session, "cancelled");
        let answer = if self.chance(15) {
            Answer::Unknown("cut".to_owned())
        } else {
            Answer::Cancelled
        };
        self.call(session, Request::Cancel, answer);
        self.give_back(quantity);
    }

    fn end(&mut self, session: usize, status: &str) -> i64 {
        let order = self.orders.get_mut(&session).unwrap();
        status.clone_into(&mut order.status);
        order.quantity
    }

    fn expire(&mut self) {
        let over = self.orders.iter().filter(|(_, order)| {
            order.status == "pending" && order.deadline.is_some_and(|end| end <= self.now)
        });
        let over: Vec<usize> = over.map(|(session, _)| *session).collect();
        for session in over {
            // Some a little later.
            if self.chance(50) {
                let quantity = self.end(session, "expired");
                self.give_back(quantity);
            }
        }
    }

    fn leave(&mut self) {
        if self.queue.is_empty() {
            return;
        }
        let at = self.random.random_range(0..self.queue.len());
        let (session, _) = self.queue.remove(at).unwrap();
        let known = self.calls.iter().any(|(_, call)| {
            call.session == session && matches!(call.answer, Answer::Waiting { .. })
        });
        if !known {
            let quantity = 1;
            // Nobody knows this place: it stays where it was.
            let quantity = self
                .calls
                .iter()
                .find_map(|(_, call)| match call.request {
                    Request::Place { quantity, .. } if call.session == session => Some(quantity),
                    _ => None,
                })
                .unwrap_or(quantity);
            self.queue.insert(at, (session, quantity));
            return;
        }
        self.call(session, Request::Leave, Answer::Left);
        self.offer();
    }

    fn restock(&mut self) {
        let session = self.sessions;
        self.sessions += 1;
        let quantity = self.random.random_range(1..=3);
        self.total += quantity;
        self.call(session, Request::Restock(quantity), Answer::Restocked);
        self.give_back(quantity);
    }

    fn give_back(&mut self, quantity: i64) {
        self.stock += quantity;
        self.reserved += quantity;
        self.offer();
    }

    fn offer(&mut self) {
        while let Some((session, quantity)) = self.queue.front().copied() {
            if quantity > self.stock {
                return;
            }
            self.queue.pop_front();
            self.stock -= quantity;
            self.reserved = (self.reserved - quantity).max(0);
            self.new_order(session, quantity);
        }
        self.reserved = 0;
    }

    /// Gives the calls random times around their effects; those of a session do not overlap.
    fn history(mut self) -> History {
        let overlap = if self.terms.waitlist {
            OVERLAP_WAITING
        } else {
            OVERLAP
        };
        let end = self.now + 2 * overlap;
        let mut calls: Vec<Call> = Vec::new();
        let effects: Vec<(Time, Call)> = std::mem::take(&mut self.calls);
        for (index, (at, call)) in effects.iter().enumerate() {
            let own = |other: &&(Time, Call)| other.1.session == call.session;
            let next = effects[index + 1..]
                .iter()
                .find(own)
                .map_or(end, |(next, _)| *next);
            let before = calls
                .iter()
                .rev()
                .find(|other| other.session == call.session);
            let earliest = before.map_or(0, |before| before.end + 1);
            let start = self
                .random
                .random_range(at.saturating_sub(overlap).max(earliest)..=*at);
            let latest = (at + overlap).min(next - 1).max(*at);
            let end = self.random.random_range(*at..=latest);
            calls.push(Call {
                start,
                end,
                ..call.clone()
            });
        }
        let waiting = (1..).zip(&self.queue);
        History {
            terms: Terms {
                sku: "sale".to_owned(),
                stock: self.terms.stock,
                waitlist: self.terms.waitlist,
            },
            calls,
            reading: Reading {
                start: end + 1,
                end: end + 2,
                stock: self.stock,
                total: self.total,
                orders: self.orders.into_values().collect(),
                waiting: waiting
                    .map(|(position, (session, _))| (*session, position))
                    .collect(),
            },
        }
    }
}
