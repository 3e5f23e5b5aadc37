//! Ownership of a command: the batch that claims it, or the caller that may abandon it.
//!
//! Both sides change one atomic state, so a command is either abandoned and never executed, or
//! claimed and finished: after the answer `unavailable` a buyer never finds an order.

use std::sync::{
    Arc,
    atomic::{AtomicU8, Ordering::AcqRel, Ordering::Acquire},
};

const WAITING: u8 = 0;
const CLAIMED: u8 = 1;
const ABANDONED: u8 = 2;

/// The lane's side.
#[derive(Debug)]
pub(super) struct Claim(Arc<AtomicU8>);

/// The caller's side; dropping it abandons the command.
#[derive(Debug)]
pub(super) struct Ticket(Arc<AtomicU8>);

pub(super) fn new() -> (Claim, Ticket) {
    let state = Arc::new(AtomicU8::new(WAITING));
    (Claim(Arc::clone(&state)), Ticket(state))
}

/// The claim of a command without a caller, which is never abandoned.
pub(super) fn without_caller() -> Claim {
    Claim(Arc::new(AtomicU8::new(WAITING)))
}

impl Claim {
    /// Claims the command; false if its caller has abandoned it.
    pub(super) fn take(&self) -> bool {
        self.0
            .compare_exchange(WAITING, CLAIMED, AcqRel, Acquire)
            .unwrap_or_else(|state| state)
            != ABANDONED
    }

    /// Returns the claim after nothing was written: the caller may abandon the command again.
    pub(super) fn put_back(&self) {
        let _ = self.0.compare_exchange(CLAIMED, WAITING, AcqRel, Acquire);
    }

    pub(super) fn is_abandoned(&self) -> bool {
        self.0.load(Acquire) == ABANDONED
    }
}

impl Ticket {
    /// Abandons the command; false if a batch has claimed it.
    pub(super) fn abandon(&self) -> bool {
        self.0
            .compare_exchange(WAITING, ABANDONED, AcqRel, Acquire)
            .unwrap_or_else(|state| state)
            != CLAIMED
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
    fn an_abandoned_command_is_never_claimed() {
        let (claim, ticket) = new();
        assert!(ticket.abandon());
        assert!(!claim.take());
        assert!(claim.is_abandoned());
    }

    #[test]
    fn a_claimed_command_cannot_be_abandoned() {
        let (claim, ticket) = new();
        assert!(claim.take());
        assert!(!ticket.abandon());
        claim.put_back();
        assert!(ticket.abandon());
    }
}
