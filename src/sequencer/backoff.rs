//! How long a lane waits before it tries again.

use std::time::Duration;

use crate::domain::jitter;

/// A pause that doubles up to a bound, each time spread by jitter so that nodes do not meet.
#[derive(Debug)]
pub(super) struct Backoff {
    next: Duration,
    max: Duration,
}

impl Backoff {
    /// Between tries at a busy lock, for who does not hear of the holder's commit: a batch takes
    /// a few milliseconds, so who waits longer than that misses its turn.
    pub(super) fn busy() -> Self {
        Self {
            next: Duration::from_micros(500),
            max: Duration::from_millis(4),
        }
    }

    /// Between tries at a database that does not answer.
    pub(super) fn unreachable() -> Self {
        Self {
            next: Duration::from_millis(5),
            max: Duration::from_millis(100),
        }
    }

    pub(super) fn next(&mut self) -> Duration {
        let pause = jitter(self.next);
        self.next = (self.next * 2).min(self.max);
        pause
    }
}
