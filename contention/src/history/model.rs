//! The sequential model of a product: units, the waitlist in its order, offers of returned units.
//!
//! It is written from the contract (`docs/API.md`) and shares no code with the service.

use std::hash::{DefaultHasher, Hash, Hasher};

use super::Time;

/// An operation with one moment of effect, between `start` and `end`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Step {
    pub(super) kind: Kind,
    pub(super) session: usize,
    pub(super) start: Time,
    pub(super) end: Time,
    /// Whether it certainly took effect; else it may have, at any time after its start.
    pub(super) is_required: bool,
    pub(super) after: After,
    /// The calls that it stands for; none for the end of a hold and for the reading.
    pub(super) calls: Vec<usize>,
    /// Where the reading suggests it among others of its kind.
    pub(super) hint: u64,
    /// The greatest position that a place was answered; 0 without one.
    pub(super) position: usize,
}

/// What must have happened before a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum After {
    Nothing,
    /// The sale to the same session.
    Sale,
    /// The offer to the same session's place.
    Offer,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// An order that fits the units for sale.
    Sell(i64),
    /// A place on the waitlist, because the order does not fit.
    Join(i64),
    /// One of both, whichever the stock decides.
    SellOrJoin(i64),
    /// Units of a cancelled or expired order come back.
    Return(i64),
    Leave,
    Restock(i64),
    SoldOut,
    Available(i64),
    Position(i64),
    NotWaiting,
    /// The product after the load: stock, total, and who waits.
    Reading {
        stock: i64,
        total: i64,
        waiting: Vec<usize>,
    },
}

impl Kind {
    /// Whether it only reads, so that the order of its effect matters to nobody else.
    pub(super) fn reads(&self) -> bool {
        match self {
            Self::SoldOut
            | Self::Available(_)
            | Self::Position(_)
            | Self::NotWaiting
            | Self::Reading { .. } => true,
            Self::Sell(_)
            | Self::Join(_)
            | Self::SellOrJoin(_)
            | Self::Return(_)
            | Self::Leave
            | Self::Restock(_) => false,
        }
    }
}

/// The product between two operations.
#[derive(Clone, Debug, Hash, PartialEq, Eq)]
pub(super) struct State {
    total: i64,
    on_hand: i64,
    reserved: i64,
    /// Session and units.
    queue: Vec<(usize, i64)>,
    sold: Sessions,
    offered: Sessions,
}

/// A set of sessions.
#[derive(Clone, Debug, Default, Hash, PartialEq, Eq)]
struct Sessions(Vec<u64>);

impl Sessions {
    fn insert(&mut self, session: usize) {
        let (word, bit) = (session / 64, session % 64);
        if self.0.len() <= word {
            self.0.resize(word + 1, 0);
        }
        if let Some(word) = self.0.get_mut(word) {
            *word |= 1 << bit;
        }
    }

    fn contains(&self, session: usize) -> bool {
        let word = self.0.get(session / 64);
        word.is_some_and(|word| word & (1 << (session % 64)) != 0)
    }
}

impl State {
    pub(super) fn new(stock: i64) -> Self {
        Self {
            total: stock,
            on_hand: stock,
            reserved: 0,
            queue: Vec::new(),
            sold: Sessions::default(),
            offered: Sessions::default(),
        }
    }

    pub(super) fn digest(&self) -> u64 {
        let mut hasher = DefaultHasher::new();
        self.hash(&mut hasher);
        hasher.finish()
    }

    fn for_sale(&self) -> i64 {
        self.on_hand - self.reserved
    }

    fn position(&self, session: usize) -> Option<usize> {
        self.queue
            .iter()
            .position(|(waiting, _)| *waiting == session)
    }

    /// Whether the step can take effect now.
    pub(super) fn allows(&self, step: &Step) -> bool {
        let session = step.session;
        let is_due = match step.after {
            After::Nothing => true,
            After::Sale => self.sold.contains(session),
            After::Offer => self.offered.contains(session),
        };
        is_due
            && match &step.kind {
                Kind::Sell(quantity) => *quantity <= self.for_sale(),
                // A position only falls while its place waits.
                Kind::Join(quantity) => {
                    *quantity > self.for_sale() && step.position <= self.queue.len() + 1
                }
                Kind::SellOrJoin(_) | Kind::Return(_) | Kind::Restock(_) => true,
                Kind::Leave => self.position(session).is_some(),
                Kind::SoldOut => self.for_sale() == 0,
                Kind::Available(available) => self.for_sale() == *available,
                Kind::Position(position) => self
                    .position(session)
                    .and_then(|before| i64::try_from(before + 1).ok())
                    .is_some_and(|now| now == *position),
                Kind::NotWaiting => self.position(session).is_none(),
                Kind::Reading {
                    stock,
                    total,
                    waiting,
                } => {
                    let queue = self.queue.iter().map(|(session, _)| session);
                    (self.on_hand, self.total) == (*stock, *total) && queue.eq(waiting)
                }
            }
    }

    /// Whether the step can never take effect any more, because a position only falls.
    pub(super) fn is_past(&self, step: &Step) -> bool {
        let Kind::Position(position) = step.kind else {
            return false;
        };
        match self.position(step.session) {
            Some(before) => i64::try_from(before + 1).is_ok_and(|now| now < position),
            None => self.offered.contains(step.session),
        }
    }

    /// Whether a place that joins now gets the position that it was answered.
    pub(super) fn suits(&self, step: &Step) -> bool {
        step.position == self.queue.len() + 1
    }

    /// Lets the step take effect; it must be allowed.
    pub(super) fn apply(&mut self, step: &Step) {
        match &step.kind {
            Kind::Sell(quantity) => self.sell(step.session, *quantity),
            Kind::SellOrJoin(quantity) if *quantity <= self.for_sale() => {
                self.sell(step.session, *quantity);
            }
            Kind::Join(quantity) | Kind::SellOrJoin(quantity) => {
                self.queue.push((step.session, *quantity));
            }
            Kind::Return(quantity) => self.give_back(*quantity),
            Kind::Restock(quantity) => {
                self.total += quantity;
                self.give_back(*quantity);
            }
            Kind::Leave => {
                self.queue.retain(|(waiting, _)| *waiting != step.session);
                self.offer();
            }
            Kind::SoldOut
            | Kind::Available(_)
            | Kind::Position(_)
            | Kind::NotWaiting
            | Kind::Reading { .. } => {}
        }
    }

    fn sell(&mut self, session: usize, quantity: i64) {
        self.sold.insert(session);
        self.on_hand -= quantity;
        self.reserved = self.reserved.min(self.on_hand);
    }

    fn give_back(&mut self, quantity: i64) {
        self.on_hand += quantity;
        self.reserved += quantity;
        self.offer();
    }

    /// Serves the waitlist in its order, up to the first place that does not fit.
    fn offer(&mut self) {
        let mut served = 0;
        for (session, quantity) in &self.queue {
            if *quantity > self.on_hand {
                break;
            }
            self.on_hand -= quantity;
            self.reserved = (self.reserved - quantity).max(0);
            self.offered.insert(*session);
            // The offered order is one that a sale to this session would have made.
            self.sold.insert(*session);
            served += 1;
        }
        self.queue.drain(..served);
        if self.queue.is_empty() {
            self.reserved = 0;
        }
    }
}
