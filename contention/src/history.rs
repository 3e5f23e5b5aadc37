//! The judge: decides whether some order of the operations on one product explains every answer.
//!
//! Clients record each call with its start, its end and its answer; a reading of the product after
//! the load ends the record. `judge` looks for a linearization: an order in which every operation
//! takes effect at one moment between its start and its end, and the sequential model of a product
//! gives every caller its answer (Wing and Gong, with the memory of visited configurations that Lowe
//! added). Every simplification widens what is accepted, so a contradiction is one; where the search
//! would take too long the result is "undecided", never "explained". `docs/CHAOS.md` has the limits.

#![expect(
    clippy::wildcard_enum_match_arm,
    reason = "each place looks for a few answers or kinds of steps among many"
)]

use std::fmt;

use uuid::Uuid;

/// The weakest set of answers that is still contradictory.
mod shrink;
/// What the calls of one session say together.
mod fold;
/// The sequential model of a product.
mod model;
/// Bounds of the stock level, which need no search.
mod bounds;
/// The search for a linearization.
mod search;
/// A contradiction as a timeline.
mod timeline;
#[cfg(test)]
mod tests;

/// Nanoseconds of the one monotonic clock of all clients.
pub(crate) type Time = u64;

/// How old a refusal of the sold-out gate may be (`ARCHITECTURE.md`, Before the lane).
const GATE: Time = 250_000_000;
/// How far the deadline of a hold, by the database's clock, may seem too early to the clients.
const CLOCKS_DIFFER: Time = 200_000_000;
/// Configurations that a search visits at most, in each of the orders of [`search::Preference`].
const CONFIGURATIONS_MAX: usize = 100_000;

/// The terms of the product that the judge has to know.
#[derive(Clone, Debug)]
pub(crate) struct Terms {
    pub(crate) sku: String,
    pub(crate) stock: i64,
    pub(crate) waitlist: bool,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Request {
    /// `keyed`: with an idempotency key; `waits`: joins the waitlist when it does not fit.
    Place {
        quantity: i64,
        keyed: bool,
        waits: bool,
    },
    Cancel,
    Leave,
    Restock(i64),
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Answer {
    Created {
        order: Uuid,
        replayed: bool,
    },
    /// A place on the waitlist; `position` while it waits.
    Waiting {
        position: Option<i64>,
        replayed: bool,
    },
    SoldOut,
    Insufficient(i64),
    Cancelled,
    /// The order's status.
    NotPending(String),
    Left,
    NotWaiting,
    Restocked,
    /// Refused with the promise that nothing was written, now or later; the code.
    NotWritten(String),
    /// No answer, or one that leaves open whether something was written.
    Unknown(String),
    /// An answer that the contract does not have for this call.
    Unexpected(String),
}

/// One call of a session. A session is one user with one idempotency key at most, whose calls do
/// not overlap.
#[derive(Clone, Debug)]
pub(crate) struct Call {
    pub(crate) session: usize,
    /// The node that was called, from 1 on.
    pub(crate) node: usize,
    pub(crate) request: Request,
    pub(crate) start: Time,
    pub(crate) end: Time,
    pub(crate) answer: Answer,
}

/// An order in the reading after the load.
#[derive(Clone, Debug)]
pub(crate) struct OrderSeen {
    pub(crate) id: Uuid,
    /// `None` for a user whom the run does not know.
    pub(crate) session: Option<usize>,
    pub(crate) quantity: i64,
    pub(crate) status: String,
    /// The end of its hold, on the clients' clock.
    pub(crate) deadline: Option<Time>,
    /// When it was made, on the clients' clock: a hint for the search, never a reason.
    pub(crate) made: Time,
}

/// The product, read after the load, once nothing changed any more.
#[derive(Clone, Debug, Default)]
pub(crate) struct Reading {
    pub(crate) start: Time,
    pub(crate) end: Time,
    pub(crate) stock: i64,
    pub(crate) total: i64,
    pub(crate) orders: Vec<OrderSeen>,
    /// Sessions that wait, with their positions.
    pub(crate) waiting: Vec<(usize, i64)>,
}

/// Everything that was observed of one product.
#[derive(Clone, Debug)]
pub(crate) struct History {
    pub(crate) terms: Terms,
    pub(crate) calls: Vec<Call>,
    pub(crate) reading: Reading,
}

/// Calls that no order of the operations explains.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Contradiction {
    pub(crate) reason: String,
    /// Indices of calls, in the order of their start.
    pub(crate) calls: Vec<usize>,
    /// What the reading says about it.
    pub(crate) read: Vec<String>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Judgement {
    /// Some order explains every answer.
    Explained {
        configurations: usize,
    },
    Contradicted(Contradiction),
    /// The search gave up after this many configurations.
    Undecided {
        configurations: usize,
    },
}

/// Looks for an order of the operations that explains every answer.
pub(crate) fn judge(history: &History) -> Judgement {
    let steps = match fold::steps(history) {
        Ok(steps) => steps,
        Err(contradiction) => return Judgement::Contradicted(contradiction),
    };
    let stock = history.terms.stock;
    if !history.terms.waitlist && bounds::broken(stock, &steps).is_some() {
        let kept = shrink::shrink(&steps, |steps| bounds::broken(stock, steps).is_some());
        let reason = bounds::broken(stock, &kept).unwrap_or_default();
        return Judgement::Contradicted(timeline::contradiction(reason, &kept));
    }
    match search::search(stock, &steps, CONFIGURATIONS_MAX) {
        search::Found::Order { configurations } => Judgement::Explained { configurations },
        search::Found::TooMany { configurations } => Judgement::Undecided { configurations },
        search::Found::None { until } => {
            let steps = shrink::until(&steps, until);
            let kept = shrink::shrink(&steps, |steps| {
                let tried = search::search(stock, steps, shrink::CONFIGURATIONS_MAX);
                matches!(tried, search::Found::None { .. })
            });
            let reason = "no order of these operations gives every caller its answer".to_owned();
            Judgement::Contradicted(timeline::contradiction(reason, &kept))
        }
    }
}

impl History {
    /// Units that nobody has although somebody wanted them until the end.
    pub(crate) fn unsold(&self) -> Option<String> {
        let stock = self.reading.stock;
        let first = self
            .reading
            .waiting
            .iter()
            .min_by_key(|(_, position)| *position);
        let wanted = first.map_or(1, |(session, _)| {
            let mut calls = self.calls.iter().filter(|call| call.session == *session);
            let quantity = calls.find_map(|call| match call.request {
                Request::Place { quantity, .. } => Some(quantity),
                Request::Cancel | Request::Leave | Request::Restock(_) => None,
            });
            quantity.unwrap_or(1)
        });
        (stock >= wanted).then(|| format!("{stock} units are unsold, and somebody wants {wanted}"))
    }
}

impl fmt::Display for Judgement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Explained { .. } => write!(f, "explained"),
            Self::Contradicted(contradiction) => {
                write!(f, "contradicted: {}", contradiction.reason)
            }
            Self::Undecided { configurations } => {
                write!(f, "undecided after {configurations} configurations")
            }
        }
    }
}
