//! Whether every promise held: pure functions from what was seen to verdicts.
//!
//! A breach names the ids that it concerns, so that it can be looked up in the books.

use std::collections::HashMap;

use uuid::Uuid;

use crate::{
    driver::bad,
    faults::holder::Paused,
    record::Shot,
    report::Check,
    scenario::{Expect, Sold},
    shop::{Book, Offer},
};

mod answers;
mod database;
mod holds;
mod limits;
mod orders;
mod stock;
#[cfg(test)]
mod tests;
mod trouble;
mod waitlist;

/// Breaches that a verdict shows; the last line says how many more there are.
const SHOWN_MAX: usize = 20;

/// Everything that a run left behind.
#[derive(Debug, Default)]
pub(crate) struct Evidence {
    /// With their books, in the same order.
    pub(crate) offers: Vec<Offer>,
    pub(crate) books: Vec<Book>,
    pub(crate) quantity: u32,
    /// Names of users by their number.
    pub(crate) users: Vec<String>,
    pub(crate) shots: Vec<Shot>,
    /// Orders that were answered 201, asked for again afterwards.
    pub(crate) read_back: Vec<ReadBack>,
    /// Purchases that were sent again afterwards with their key.
    pub(crate) replays: Vec<Replay>,
    /// Held orders that were to be confirmed.
    pub(crate) confirmed: Vec<Confirmed>,
    /// Who breaks which invariant, by the database itself; empty for a service of others.
    pub(crate) invariants: Vec<(&'static str, Vec<String>)>,
    pub(crate) bad: Vec<bad::Outcome>,
    pub(crate) trouble: Trouble,
    /// False for the naive design, which knows neither users nor keys.
    pub(crate) is_full_service: bool,
    /// Index of the user who sends too much.
    pub(crate) greedy: Option<u32>,
    /// Whether nobody pays and the holds end.
    pub(crate) holds_end: bool,
    /// The ledger of a gateway that the runner plays.
    pub(crate) charges: Option<HashMap<Uuid, u32>>,
    pub(crate) max_per_user: Option<u32>,
}

#[derive(Clone, Debug)]
pub(crate) struct ReadBack {
    pub(crate) order: Uuid,
    pub(crate) user: u32,
    /// 0 where no answer came.
    pub(crate) status: u16,
    /// Whether it is the same order, of the same user.
    pub(crate) same: bool,
}

#[derive(Clone, Debug)]
pub(crate) struct Replay {
    pub(crate) user: u32,
    pub(crate) key: String,
    pub(crate) first: Uuid,
    pub(crate) status: u16,
    pub(crate) again: Option<Uuid>,
    /// Whether the answer said that it is a repetition.
    pub(crate) flagged: bool,
}

#[derive(Clone, Debug)]
pub(crate) struct Confirmed {
    pub(crate) order: Uuid,
    /// `pending` for an order that holds its units.
    pub(crate) was: String,
    pub(crate) status: u16,
    pub(crate) now: String,
}

/// What the injected faults did, and how it ended.
#[derive(Clone, Debug, Default)]
pub(crate) struct Trouble {
    /// Redis: whether the lock was seen degraded, not degraded afterwards, and taken again.
    pub(crate) lock: Option<[bool; 3]>,
    /// What became of a holder that was stopped.
    pub(crate) paused: Option<Paused>,
    /// Orders that were won after the last fault was over.
    pub(crate) won_afterwards: Option<u64>,
}

/// Judges a run.
pub(crate) fn all(evidence: &Evidence, expect: &Expect) -> Vec<Check> {
    let mut checks = vec![
        stock::sold(evidence, expect),
        stock::conserved(evidence),
        orders::kept(evidence),
        orders::told(evidence),
        answers::answered(evidence, expect),
        answers::codes(evidence, expect),
        answers::server_errors(evidence, expect),
        answers::in_time(evidence, expect),
    ];
    if evidence.is_full_service {
        checks.extend([
            orders::one_per_key(evidence),
            orders::one_winner(evidence),
            orders::found_again(evidence),
            orders::replayed(evidence),
        ]);
    }
    checks.extend(waitlist::positions(evidence));
    checks.extend(limits::greedy_alone(evidence));
    checks.extend(limits::bad_requests(evidence));
    checks.extend(trouble::all(evidence));
    checks.extend(orders::confirmed(evidence));
    checks.extend(holds::inherited(evidence));
    checks.extend(holds::charged_once(evidence));
    checks.extend(holds::within_limit(evidence));
    if expect.refusals_faster {
        checks.push(answers::refusals_faster(evidence));
    }
    checks.extend(database::invariants(evidence));
    checks
}

impl Evidence {
    pub(crate) fn user(&self, number: u32) -> &str {
        let number = usize::try_from(number).unwrap_or(usize::MAX);
        self.users
            .get(number % self.users.len().max(1))
            .map_or("?", String::as_str)
    }

    pub(crate) fn buys(&self) -> impl Iterator<Item = &Shot> {
        self.shots.iter().filter(|shot| shot.is_buy())
    }

    /// Whether a shot counts in the figures.
    pub(crate) fn counts(&self, shot: &Shot) -> bool {
        let offer = self.offers.get(shot.planned.product);
        offer.is_none_or(|offer| !offer.is_yardstick)
    }

    /// The last answer to each purchase, by its number.
    fn last_words(&self) -> HashMap<u32, &Shot> {
        let mut last: HashMap<u32, &Shot> = HashMap::new();
        for shot in self.buys() {
            let known = last.entry(shot.planned.number).or_insert(shot);
            if known.attempt < shot.attempt {
                *known = shot;
            }
        }
        last
    }

    /// Units of each product that could be sold: the smaller of wish and stock, in whole orders.
    pub(crate) fn possible(&self) -> Vec<u64> {
        let mut wanted = vec![0_u64; self.offers.len()];
        for shot in self.last_words().values() {
            let wishes = if self.holds_end {
                shot.answer.code == "waitlisted"
            } else {
                wants_still(shot.answer.code)
            };
            if let (true, Some(count)) = (wishes, wanted.get_mut(shot.planned.product)) {
                *count += 1;
            }
        }
        let quantity = u64::from(self.quantity.max(1));
        let possible = |(offer, wanted): (&Offer, u64)| {
            (u64::from(offer.stock) / quantity).min(wanted) * quantity
        };
        self.offers.iter().zip(wanted).map(possible).collect()
    }

    /// Units of each product that live orders hold, as the books say.
    pub(crate) fn sold(&self) -> Vec<u64> {
        let units = |book: &Book| {
            let live = book.orders.iter().filter(|order| order.is_live());
            live.map(|order| u64::from(order.quantity)).sum()
        };
        self.books.iter().map(units).collect()
    }
}

/// Whether a buyer who was told this would have taken a unit.
fn wants_still(code: &str) -> bool {
    matches!(
        code,
        "created"
            | "replayed"
            | "waitlisted"
            | "sold_out"
            | "insufficient_stock"
            | "high_demand"
            | "unavailable"
            | "outcome_unknown"
            | "no_answer"
            | "request_timeout"
    )
}

/// A verdict; it holds when there is no breach.
fn verdict(promise: &str, detail: String, mut breaches: Vec<String>) -> Check {
    let held = breaches.is_empty();
    if breaches.len() > SHOWN_MAX {
        let more = breaches.len() - (SHOWN_MAX - 1);
        breaches.truncate(SHOWN_MAX - 1);
        breaches.push(format!("and {more} more"));
    }
    Check {
        promise: promise.to_owned(),
        held,
        detail,
        breaches,
    }
}

/// Whether the load ends with neither stock nor wish used up.
fn is_open_ended(expect: &Expect) -> bool {
    expect.sold == Sold::Any
}
