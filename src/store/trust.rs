//! Which connections may still be used.
//!
//! sqlx gives a connection back to its pool even when the caller stopped waiting for an answer.
//! On a database that fell silent the next caller would wait behind it, so after every silence
//! all connections that were open by then are replaced.

use std::time::{Duration, Instant};

use parking_lot::Mutex;

#[derive(Debug, Default)]
pub(super) struct Trust {
    lost: Mutex<Option<Instant>>,
}

impl Trust {
    /// Forgets every connection that is open now.
    pub(super) fn lose(&self) {
        *self.lost.lock() = Some(Instant::now());
    }

    /// Whether a connection of this age was opened after the last silence.
    pub(super) fn has(&self, age: Duration) -> bool {
        self.lost.lock().is_none_or(|lost| age < lost.elapsed())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_silence_costs_older_connections_their_trust() {
        let trust = Trust::default();
        assert!(trust.has(Duration::from_mins(1)));
        trust.lose();
        assert!(!trust.has(Duration::from_mins(1)));
        assert!(trust.has(Duration::ZERO));
    }
}
