//! Pace of repeated calls: a gateway that answers 429 gets none for a while.

use std::time::{Duration, Instant};

use parking_lot::Mutex;

/// The first pause when the gateway names none; it doubles with each further 429.
const PAUSE: Duration = Duration::from_secs(1);
const PAUSE_MAX: Duration = Duration::from_mins(1);
/// 429 answers to calls that were sent together count once.
const TOGETHER: Duration = Duration::from_millis(500);

#[derive(Debug, Default)]
pub(super) struct Pace {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    refused_at: Option<Instant>,
    until: Option<Instant>,
    next: Option<Duration>,
}

impl Pace {
    /// The gateway has answered 429, with this `Retry-After`.
    pub(super) fn refused(&self, retry_after: Option<Duration>, now: Instant) {
        let mut state = self.state.lock();
        let is_repeated = state
            .refused_at
            .is_some_and(|at| now.duration_since(at) < TOGETHER);
        let own = state.next.unwrap_or(PAUSE);
        let pause = match retry_after {
            Some(asked) => asked.min(PAUSE_MAX),
            None if is_repeated => return,
            None => own,
        };
        if !is_repeated {
            state.next = Some((own * 2).min(PAUSE_MAX));
        }
        state.refused_at = Some(now);
        state.until = state.until.max(Some(now + pause));
    }

    /// The gateway has processed a call.
    pub(super) fn answered(&self) {
        let mut state = self.state.lock();
        if state.next.is_some() {
            state.next = None;
        }
    }

    /// The rest of the pause.
    pub(super) fn pause(&self, now: Instant) -> Option<Duration> {
        let left = self.state.lock().until?.checked_duration_since(now)?;
        (!left.is_zero()).then_some(left)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_pause_is_as_long_as_the_gateway_asks_or_doubles() {
        let (pace, start) = (Pace::default(), Instant::now());
        assert_eq!(pace.pause(start), None);
        pace.refused(Some(Duration::from_secs(7)), start);
        assert_eq!(pace.pause(start), Some(Duration::from_secs(7)));
        pace.answered();
        let later = start + Duration::from_secs(7);
        assert_eq!(pace.pause(later), None);
        pace.refused(None, later);
        // Those that were sent together with it.
        pace.refused(None, later);
        assert_eq!(pace.pause(later), Some(Duration::from_secs(1)));
        let next = later + Duration::from_secs(1);
        pace.refused(None, next);
        assert_eq!(pace.pause(next), Some(Duration::from_secs(2)));
        pace.refused(Some(Duration::from_hours(24)), next);
        assert_eq!(pace.pause(next), Some(PAUSE_MAX));
    }
}
