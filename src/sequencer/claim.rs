//! Who owns a wish: the lane that works on it, or the caller that may give it up.
//!
//! Both sides change one atomic state, so a wish is either given up and never begun, or begun
//! and finished: a buyer who was told `unavailable` never finds an order later.

use std::sync::{
    Arc,
    atomic::{AtomicU8, Ordering::AcqRel, Ordering::Acquire},
};

const WAITING: u8 = 0;
const TAKEN: u8 = 1;
const GONE: u8 = 2;

/// The lane's side.
#[derive(Debug)]
pub(super) struct Claim(Arc<AtomicU8>);

/// The caller's side; dropped, it gives the wish up.
#[derive(Debug)]
pub(super) struct Ticket(Arc<AtomicU8>);

pub(super) fn new() -> (Claim, Ticket) {
    let state = Arc::new(AtomicU8::new(WAITING));
    (Claim(Arc::clone(&state)), Ticket(state))
}

/// Of a wish that nobody waits for, so that nobody gives it up.
pub(super) fn of_nobody() -> Claim {
    Claim(Arc::new(AtomicU8::new(WAITING)))
}

impl Claim {
    /// Begins; false if the caller gave up before.
    pub(super) fn take(&self) -> bool {
        self.0
            .compare_exchange(WAITING, TAKEN, AcqRel, Acquire)
            .unwrap_or_else(|state| state)
            != GONE
    }

    /// Nothing was written: the caller may give up again.
    pub(super) fn put_back(&self) {
        let _ = self.0.compare_exchange(TAKEN, WAITING, AcqRel, Acquire);
    }

    pub(super) fn is_gone(&self) -> bool {
        self.0.load(Acquire) == GONE
    }
}

impl Ticket {
    /// Gives up; false if the lane has begun.
    pub(super) fn abandon(&self) -> bool {
        self.0
            .compare_exchange(WAITING, GONE, AcqRel, Acquire)
            .unwrap_or_else(|state| state)
            != TAKEN
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        self.abandon();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wish_that_was_given_up_is_never_begun() {
        let (claim, ticket) = new();
        assert!(ticket.abandon());
        assert!(!claim.take());
        assert!(claim.is_gone());
    }

    #[test]
    fn a_wish_that_was_begun_cannot_be_given_up() {
        let (claim, ticket) = new();
        assert!(claim.take());
        assert!(!ticket.abandon());
        claim.put_back();
        assert!(ticket.abandon());
    }
}
