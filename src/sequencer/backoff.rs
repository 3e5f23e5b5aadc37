//! Exponential back-off with jitter between a lane's attempts.

use std::time::Duration;

use crate::domain::jitter;

/// A pause that doubles up to a bound, with jitter so that nodes do not retry in step.
#[derive(Debug)]
pub(super) struct Backoff {
    next: Duration,
    max: Duration,
}

impl Backoff {
    /// Between attempts at a busy lock, in case the holder's stock event does not arrive: a batch
    /// takes a few milliseconds, so a longer pause would miss the turn.
    pub(super) fn busy() -> Self {
        Self {
            next: Duration::from_micros(500),
            max: Duration::from_millis(4),
        }
    }

    /// Between attempts at a database that does not answer.
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
