//! What a run left behind, for the checks: answers, the rows of the database, reads and replays afterwards.

use std::collections::HashMap;

use uuid::Uuid;

use crate::{
    faults::holder::Paused,
    record::{BadRequestResult, Sample},
    shop::{Offer, ProductRows},
};

pub(crate) mod collect;
mod holds;

/// Everything that a run left behind.
#[derive(Debug, Default)]
pub(crate) struct Evidence {
    /// With their rows, in the same order.
    pub(crate) offers: Vec<Offer>,
    pub(crate) rows: Vec<ProductRows>,
    pub(crate) quantity: u32,
    /// Names of users by their number.
    pub(crate) users: Vec<String>,
    pub(crate) samples: Vec<Sample>,
    /// Orders that were answered 201, asked for again afterwards.
    pub(crate) read_back: Vec<ReadBack>,
    /// Purchases that were sent again afterwards with their key.
    pub(crate) replays: Vec<Replay>,
    /// Held orders that were to be confirmed.
    pub(crate) confirmed: Vec<Confirmed>,
    /// Who breaks which invariant, by the database itself; empty for a service of others.
    pub(crate) invariants: Vec<(&'static str, Vec<String>)>,
    pub(crate) bad: Vec<BadRequestResult>,
    pub(crate) faults: FaultEvidence,
    /// False for the naive design, which knows neither users nor keys.
    pub(crate) is_full_service: bool,
    /// Index of the user who sends too much.
    pub(crate) greedy: Option<u32>,
    /// Whether no buyer pays and the holds end.
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
    /// Whether the answer was marked as a replay.
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
pub(crate) struct FaultEvidence {
    /// Redis: whether the lock was seen degraded, not degraded afterwards, and taken again.
    pub(crate) lock: Option<[bool; 3]>,
    /// What became of a holder that was stopped.
    pub(crate) paused: Option<Paused>,
    /// Orders that were won after the last fault was over.
    pub(crate) won_afterwards: Option<u64>,
}

impl Evidence {
    pub(crate) fn user(&self, number: u32) -> &str {
        let number = usize::try_from(number).unwrap_or(usize::MAX);
        self.users
            .get(number % self.users.len().max(1))
            .map_or("?", String::as_str)
    }

    pub(crate) fn buys(&self) -> impl Iterator<Item = &Sample> {
        self.samples.iter().filter(|sample| sample.is_buy())
    }

    /// Whether a sample counts in the figures.
    pub(crate) fn counts(&self, sample: &Sample) -> bool {
        let offer = self.offers.get(sample.planned.product);
        offer.is_none_or(|offer| !offer.is_yardstick)
    }

    /// The last answer to each purchase, by its number.
    pub(crate) fn last_answers(&self) -> HashMap<u32, &Sample> {
        let mut last: HashMap<u32, &Sample> = HashMap::new();
        for sample in self.buys() {
            let known = last.entry(sample.planned.number).or_insert(sample);
            if known.attempt < sample.attempt {
                *known = sample;
            }
        }
        last
    }

    /// Units of each product that could be sold: the smaller of demand and stock, in whole orders.
    pub(crate) fn possible(&self) -> Vec<u64> {
        let mut wanted = vec![0_u64; self.offers.len()];
        for sample in self.last_answers().values() {
            let still_wanted = if self.holds_end {
                sample.answer.code == "waitlisted"
            } else {
                wants_still(sample.answer.code)
            };
            if let (true, Some(count)) = (still_wanted, wanted.get_mut(sample.planned.product)) {
                *count += 1;
            }
        }
        let quantity = u64::from(self.quantity.max(1));
        let possible = |(offer, wanted): (&Offer, u64)| {
            (u64::from(offer.stock) / quantity).min(wanted) * quantity
        };
        self.offers.iter().zip(wanted).map(possible).collect()
    }

    /// Units of each product that live orders hold, as the database says.
    pub(crate) fn sold(&self) -> Vec<u64> {
        let units = |row: &ProductRows| {
            let live = row.orders.iter().filter(|order| order.is_live());
            live.map(|order| u64::from(order.quantity)).sum()
        };
        self.rows.iter().map(units).collect()
    }
}

/// Whether a buyer with this last answer would have taken a unit.
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
