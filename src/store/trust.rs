//! Invalidates pooled connections that were open when the database stopped answering or writing.
//!
//! sqlx returns a connection to its pool even when the caller stopped waiting for an answer. The
//! next caller would then wait for the same answer, so after every missing answer all connections
//! that were open by then are replaced.

use std::time::{Duration, Instant};

use parking_lot::Mutex;

use crate::metrics;

#[derive(Debug, Default)]
pub(super) struct Trust {
    revoked_at: Mutex<Option<Instant>>,
}

impl Trust {
    /// Invalidates every connection that is open now.
    pub(super) fn revoke(&self) {
        self.revoke_after(Duration::ZERO);
    }

    /// [`Trust::revoke`], unless that was less than `pause` ago: for a fault that each use of a
    /// connection meets again until it is over.
    pub(super) fn revoke_after(&self, pause: Duration) {
        let mut revoked_at = self.revoked_at.lock();
        if revoked_at.is_none_or(|revoked_at| revoked_at.elapsed() >= pause) {
            *revoked_at = Some(Instant::now());
            metrics::database::revoked();
        }
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

    #[test]
    fn a_lasting_fault_replaces_connections_once_per_pause() {
        let trust = Trust::default();
        trust.revoke_after(Duration::from_mins(1));
        let first = *trust.revoked_at.lock();
        trust.revoke_after(Duration::from_mins(1));
        assert_eq!(*trust.revoked_at.lock(), first);
        trust.revoke_after(Duration::ZERO);
        assert_ne!(*trust.revoked_at.lock(), first);
    }
}
