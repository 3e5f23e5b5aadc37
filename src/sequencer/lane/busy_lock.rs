//! A lock that this lane finds busy: since when, and whether its holder still writes.
//!
//! A holder that died or is paused keeps its key until the TTL ends. Its lane shows no other sign
//! of life than the product's version, so a lock that stays busy while the version stands still is
//! passed by: the batch is written under the fence alone, which rejects it if the holder lives.

use std::time::{Duration, Instant};

use crate::domain::Product;

/// A lock is passed by after this long without a write of another node: a batch takes a few
/// milliseconds, and a prefetched lock is used as soon as the batch before it has committed.
const STILL_FOR: Duration = Duration::from_millis(150);
/// Tries that are further apart are of different holders, as far as the lane can know. A lane tries
/// every few milliseconds.
const TRIES_WITHIN: Duration = Duration::from_millis(500);
/// The share of `LOCK_PATIENCE_MS` that it takes at most, so that no command is refused before.
const STILL_SHARE: f64 = 0.6;
/// The share after which a lock is passed by although the version moves, if the level does not:
/// the nodes that pass a dead holder by move the version of each other's rows.
const LEVEL_SHARE: f64 = 0.8;

/// What a try has seen of the product's row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Seen {
    level: i32,
    version: i64,
}

impl From<&Product> for Seen {
    fn from(product: &Product) -> Self {
        Self {
            level: product.stock.on_hand,
            version: product.version,
        }
    }
}

#[derive(Clone, Copy, Debug)]
pub(super) struct BusyLock {
    seen: Seen,
    /// The first busy try at this level.
    level_since: Instant,
    /// The first busy try since another node has written the product.
    still_since: Instant,
    tried_at: Instant,
    passed_by: bool,
}

impl BusyLock {
    /// The state after a try at `now` that found the lock of the row's level busy.
    pub(super) fn tried(before: Option<Self>, seen: Seen, now: Instant) -> Self {
        let same = |before: &Self| {
            before.seen.level == seen.level && now.duration_since(before.tried_at) < TRIES_WITHIN
        };
        match before.filter(same) {
            Some(before) if before.seen == seen => Self {
                tried_at: now,
                ..before
            },
            Some(before) => Self {
                seen,
                still_since: now,
                tried_at: now,
                ..before
            },
            None => Self {
                seen,
                level_since: now,
                still_since: now,
                tried_at: now,
                passed_by: false,
            },
        }
    }

    /// The state after this lane's own commit, which left the row so: that the version has moved
    /// says nothing about the holder of the lock. `None` if the next batch needs another lock.
    pub(super) fn written(self, seen: Seen) -> Option<Self> {
        (self.seen.level == seen.level).then_some(Self { seen, ..self })
    }

    /// Whether the next batch goes without this lock.
    pub(super) fn is_passed_by(&self, patience: Duration, now: Instant) -> bool {
        let still_for = STILL_FOR.min(patience.mul_f64(STILL_SHARE));
        now.duration_since(self.still_since) >= still_for
            || now.duration_since(self.level_since) >= patience.mul_f64(LEVEL_SHARE)
    }

    /// Notes that a batch goes without this lock; true for the first one.
    pub(super) fn pass_by(&mut self) -> bool {
        !std::mem::replace(&mut self.passed_by, true)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PATIENCE: Duration = Duration::from_millis(250);

    fn row(level: i32, version: i64) -> Seen {
        Seen { level, version }
    }

    /// Tries of `rows`, ten milliseconds apart; the number of the first that passes the lock by.
    fn first_pass(rows: impl Iterator<Item = Seen>, patience: Duration) -> Option<usize> {
        let start = Instant::now();
        let mut busy = None;
        for (number, row) in rows.enumerate() {
            let now = start + Duration::from_millis(10) * u32::try_from(number).unwrap();
            let tried = BusyLock::tried(busy, row, now);
            if tried.is_passed_by(patience, now) {
                return Some(number);
            }
            busy = Some(tried);
        }
        None
    }

    #[test]
    fn a_lock_is_passed_by_when_the_version_stands_still() {
        let still = || std::iter::repeat_with(|| row(5, 7)).take(100);
        assert_eq!(first_pass(still(), PATIENCE), Some(15));
        assert_eq!(first_pass(still(), Duration::from_secs(9)), Some(15));
        assert_eq!(first_pass(still(), Duration::from_millis(100)), Some(6));
    }

    #[test]
    fn a_lock_that_changes_hands_is_not_passed_by() {
        let selling = (0..100).map(|number| row(500 - number, i64::from(number)));
        assert_eq!(first_pass(selling, PATIENCE), None);
    }

    #[test]
    fn a_conflict_starts_the_wait_again() {
        let rows = (0..100).map(|number| row(5, if number < 15 { 7 } else { 8 }));
        assert_eq!(first_pass(rows, Duration::from_secs(9)), Some(15 + 15));
    }

    #[test]
    fn a_level_that_stays_locked_is_passed_by_before_anybody_is_refused() {
        let joining = (0..100).map(|number| row(0, number));
        assert_eq!(first_pass(joining, PATIENCE), Some(20));
    }

    #[test]
    fn own_commits_do_not_start_the_wait_again() {
        let start = Instant::now();
        let late = start + STILL_FOR;
        let busy = BusyLock::tried(None, row(0, 7), start);
        let written = busy.written(row(0, 8));
        assert!(BusyLock::tried(written, row(0, 8), late).is_passed_by(PATIENCE, late));
        assert!(busy.written(row(1, 8)).is_none());
    }

    #[test]
    fn a_lock_that_is_busy_again_later_is_waited_for_again() {
        let start = Instant::now();
        let later = start + TRIES_WITHIN;
        let busy = BusyLock::tried(None, row(5, 7), start);
        let again = BusyLock::tried(Some(busy), row(5, 7), later);
        assert!(!again.is_passed_by(PATIENCE, later));
    }

    #[test]
    fn only_the_first_pass_is_reported() {
        let mut busy = BusyLock::tried(None, row(0, 7), Instant::now());
        assert!(busy.pass_by());
        assert!(!busy.pass_by());
    }
}
