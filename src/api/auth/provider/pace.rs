//! When the keys may be fetched because a request asks for them.

use std::time::{Duration, Instant};

use crate::metrics::auth::Fetch;

/// The least time between two fetches that requests have asked for. A provider publishes a new key
/// before it signs with it, so that the regular fetch has mostly read it already.
pub(super) const COOL_DOWN: Duration = Duration::from_secs(10);

#[derive(Debug)]
pub(super) struct Pace {
    is_fetching: bool,
    /// How the last fetch has ended.
    last: Option<Fetch>,
    /// When a request has last caused a fetch.
    asked_at: Option<Instant>,
}

impl Pace {
    /// Before the first fetch, for which the first requests wait.
    pub(super) fn starting() -> Self {
        Self {
            is_fetching: true,
            last: None,
            asked_at: None,
        }
    }

    /// Whether a fetch is under way, or about to begin.
    pub(super) fn is_fetching(&self) -> bool {
        self.is_fetching
    }

    pub(super) fn last(&self) -> Option<Fetch> {
        self.last
    }

    pub(super) fn begin(&mut self) {
        self.is_fetching = true;
    }

    /// Notes the end of a fetch; returns how the one before has ended.
    pub(super) fn end(&mut self, outcome: Fetch) -> Option<Fetch> {
        self.is_fetching = false;
        self.last.replace(outcome)
    }

    /// Whether a request may cause a fetch now; counts it if so.
    pub(super) fn ask(&mut self, now: Instant) -> bool {
        let is_cooling =
            (self.asked_at).is_some_and(|asked| now.saturating_duration_since(asked) < COOL_DOWN);
        if is_cooling {
            return false;
        }
        self.asked_at = Some(now);
        self.is_fetching = true;
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_cause_one_fetch_in_a_while() {
        let (mut pace, start) = (Pace::starting(), Instant::now());
        pace.end(Fetch::Done);
        let asked = (0..=600).filter(|tenth| {
            let allowed = pace.ask(start + Duration::from_millis(100) * *tenth);
            pace.end(Fetch::Failed);
            allowed
        });
        assert_eq!(asked.count(), 7, "at 0, 10, … 60 seconds");
    }
}
