//! The evidence of a run for the checks: answers, database rows, reads and replays after the load.

use std::collections::HashMap;

use flash_sale::domain::Code;
use uuid::Uuid;

use crate::{
    faults::{flood::Flood, holder::Paused},
    record::{BadRequestResult, Sample},
    report::codes::AnswerCode,
    shop::{Offer, ProductRows},
};

pub(crate) mod collect;
mod holds;

/// Everything that the checks read.
#[derive(Debug, Default)]
pub(crate) struct Evidence {
    /// In the same order as their rows.
    pub(crate) offers: Vec<Offer>,
    pub(crate) rows: Vec<ProductRows>,
    pub(crate) quantity: u32,
    /// Names of users, by number.
    pub(crate) users: Vec<String>,
    pub(crate) samples: Vec<Sample>,
    /// Orders that were answered 201 and read after the load.
    pub(crate) read_back: Vec<ReadBack>,
    /// Purchases that were sent again with their key after the load.
    pub(crate) replays: Vec<Replay>,
    /// Held orders that were confirmed after the load.
    pub(crate) confirmed: Vec<Confirmed>,
    /// Payments of a paused node.
    pub(crate) take_over: Option<TakeOver>,
    /// Breaches of each invariant of `flash-sale verify`; empty for an existing service.
    pub(crate) invariants: Vec<(&'static str, Vec<String>)>,
    pub(crate) bad: Vec<BadRequestResult>,
    pub(crate) faults: FaultEvidence,
    /// False for the naive design, which has neither users nor keys.
    pub(crate) is_full_service: bool,
    /// Number of the user who exceeds the rate limit.
    pub(crate) greedy: Option<u32>,
    /// Whether no buyer pays and the holds expire.
    pub(crate) holds_expire: bool,
    /// Charges per order of the runner's own gateway.
    pub(crate) charges: Option<HashMap<Uuid, u32>>,
    pub(crate) max_per_user: Option<u32>,
    /// Entries on each waitlist before the load.
    pub(crate) waiting: u32,
}

#[derive(Clone, Debug)]
pub(crate) struct ReadBack {
    pub(crate) order: Uuid,
    pub(crate) user: u32,
    /// 0 without an answer.
    pub(crate) status: u16,
    /// Whether it is the same order of the same user.
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

/// Payments that were begun at a node which was paused until another node had ended them.
#[derive(Clone, Debug, Default)]
pub(crate) struct TakeOver {
    pub(crate) confirmed: Vec<Confirmed>,
    /// Orders that were confirmed while the node was paused.
    pub(crate) paid_by_others: usize,
}

/// The effects of the injected faults.
#[derive(Clone, Debug, Default)]
pub(crate) struct FaultEvidence {
    /// Redis: whether the lock was degraded, was no longer degraded after the fault, and was then
    /// taken again.
    pub(crate) lock: Option<[bool; 3]>,
    /// Database: whether a node noticed that it only reads, and that it writes again.
    pub(crate) read_only: Option<[bool; 2]>,
    /// The pauses of the lock's holder.
    pub(crate) paused: Option<Paused>,
    /// The event streams that were opened at once.
    pub(crate) flood: Option<Flood>,
    /// Orders that were won after the end of the last fault.
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
            let counts = if self.holds_expire {
                sample.answer.code == AnswerCode::Waitlisted
            } else {
                is_demand(sample.answer.code)
            };
            if let (true, Some(count)) = (counts, wanted.get_mut(sample.planned.product)) {
                *count += 1;
            }
        }
        let quantity = u64::from(self.quantity.max(1));
        let possible = |(offer, wanted): (&Offer, u64)| {
            (u64::from(offer.stock) / quantity).min(wanted) * quantity
        };
        self.offers.iter().zip(wanted).map(possible).collect()
    }

    /// Units of each product in live orders, from the database.
    pub(crate) fn sold(&self) -> Vec<u64> {
        let units = |row: &ProductRows| {
            let live = row.orders.iter().filter(|order| order.is_live());
            live.map(|order| u64::from(order.quantity)).sum()
        };
        self.rows.iter().map(units).collect()
    }
}

/// Whether a buyer with this last answer wanted a unit.
fn is_demand(code: AnswerCode) -> bool {
    matches!(
        code,
        AnswerCode::Created
            | AnswerCode::Replayed
            | AnswerCode::Waitlisted
            | AnswerCode::NoAnswer
            | AnswerCode::Refused(
                Code::SoldOut
                    | Code::InsufficientStock
                    | Code::HighDemand
                    | Code::Unavailable
                    | Code::OutcomeUnknown
                    | Code::RequestTimeout
            )
    )
}
