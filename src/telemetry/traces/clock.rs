//! Times of spans: their ends are taken from the monotonic clock, and exported as times of day.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// A clock that was set by less than this is not followed, so that spans of one trace that are
/// exported one after another stay nested.
const STEP: Duration = Duration::from_millis(10);

/// A moment on both clocks.
#[derive(Clone, Copy, Debug)]
pub(super) struct Clock {
    at: Instant,
    /// Since the Unix epoch.
    wall: Duration,
}

impl Clock {
    pub(super) fn now() -> Self {
        let wall = SystemTime::now().duration_since(UNIX_EPOCH);
        Self {
            at: Instant::now(),
            wall: wall.unwrap_or_default(),
        }
    }

    /// This clock, or `now` if the time of day was set since.
    pub(super) fn followed(self, now: Self) -> Self {
        let step = self.time_of(now.at).abs_diff(now.wall);
        if step < STEP { self } else { now }
    }

    /// Nanoseconds since the Unix epoch.
    pub(super) fn nanos(self, at: Instant) -> u64 {
        u64::try_from(self.time_of(at).as_nanos()).unwrap_or(u64::MAX)
    }

    fn time_of(self, at: Instant) -> Duration {
        match at.checked_duration_since(self.at) {
            Some(since) => self.wall + since,
            None => self.wall.saturating_sub(self.at.duration_since(at)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_step_of_the_clock_is_followed() {
        let before = Clock::now();
        let later = |off: Duration| Clock {
            at: before.at + Duration::from_mins(1),
            wall: before.wall + Duration::from_mins(1) + off,
        };
        let drifted = before.followed(later(Duration::from_millis(1)));
        assert_eq!(drifted.wall, before.wall);
        let set = later(Duration::from_secs(5));
        assert_eq!(before.followed(set).wall, set.wall);
        let minute = Duration::from_mins(1).as_nanos();
        let between = set.nanos(set.at) - set.nanos(before.at);
        assert_eq!(u128::from(between), minute);
    }
}
