//! Invalidates pooled connections that were open when the database stopped answering.
//!
//! sqlx returns a connection to its pool even when the caller stopped waiting for an answer. The
//! next caller would then wait for the same answer, so after every missing answer all connections
//! that were open by then are replaced.

use std::time::{Duration, Instant};

use parking_lot::Mutex;

#[derive(Debug, Default)]
pub(super) struct Trust {
    revoked_at: Mutex<Option<Instant>>,
}

impl Trust {
    /// Invalidates every connection that is open now.
    pub(super) fn revoke(&self) {
        *self.revoked_at.lock() = Some(Instant::now());
    }

    /// Whether a connection of this age was opened after the last [`Trust::revoke`].
    pub(super) fn covers(&self, age: Duration) -> bool {
        let revoked_at = self.revoked_at.lock();
        revoked_at.is_none_or(|revoked_at| age < revoked_at.elapsed())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_answer_invalidates_older_connections() {
        let trust = Trust::default();
        assert!(trust.covers(Duration::from_mins(1)));
        trust.revoke();
        assert!(!trust.covers(Duration::from_mins(1)));
        assert!(trust.covers(Duration::ZERO));
    }
}
