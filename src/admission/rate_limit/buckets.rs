//! This node's own buckets, and which users' requests it may admit without Redis.
//!
//! A user may owe: take a few cells on this node that Redis has not counted. They are told to Redis
//! in one sum with the first request beyond them, as far as they would not be refilled by then, and
//! Redis refuses the user until they are. What is never told is at most the allowance in a minute
//! from its first cell. So a burst over all nodes exceeds the limit by the allowances of two such
//! minutes at most, and in the long run by one a minute.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use dashmap::DashMap;

use super::{
    super::gcra::{BUCKET, Gcra, RateLimited, nanoseconds},
    redis::Counted,
};
use crate::domain::UserId;

/// The limit ÷ this is what a user may owe on all nodes together; twice that is a tenth of the limit.
const OWED_SHARE: u32 = 20;

/// What a user's request needs.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Claim {
    /// Nothing: it is admitted.
    Admitted,
    /// Redis has to count it, after the cells that the user owes.
    Ask {
        owed: u32,
        /// The answer if Redis gives none.
        local: Result<(), RateLimited>,
    },
}

#[derive(Debug)]
pub(super) struct Buckets {
    rule: Gcra,
    users: DashMap<UserId, Bucket, ahash::RandomState>,
}

/// Times are nanoseconds as in [`Gcra`].
#[derive(Debug, Default)]
struct Bucket {
    /// When it is full again, by the requests on this node.
    full: u64,
    /// Until when Redis has refused the user.
    blocked: u64,
    /// When a bucket with nothing but the cells that Redis does not know of would be full again.
    owed_full: u64,
    /// When the minute began in which at most the allowance is owed.
    minute: u64,
    /// Cells of that minute, and those without an answer, that were not told to Redis.
    owed: u32,
    /// The part of a cell that the last debt told to Redis was rounded up by; none once it is
    /// answered.
    rounded: u64,
    /// Whether every request asks Redis: the user has used much over all nodes, or an answer is
    /// still awaited.
    asks: bool,
}

impl Bucket {
    fn begin_minute(&mut self, now: u64) {
        if self.minute_is_over(now) {
            self.minute = now;
            self.owed = 0;
        }
    }

    fn minute_is_over(&self, now: u64) -> bool {
        now >= self.minute.saturating_add(nanoseconds(BUCKET))
    }

    fn owe(&mut self, cells: u32, cell: u64, now: u64) {
        self.owed = self.owed.saturating_add(cells);
        let time = cell.saturating_mul(cells.into());
        self.owed_full = self.owed_full.max(now).saturating_add(time);
    }

    /// The cells that Redis has to learn of; those that are refilled meanwhile stay untold.
    fn tell(&mut self, cell: u64, now: u64) -> u32 {
        let left = self.owed_full.saturating_sub(now);
        let told = left.div_ceil(cell);
        if told > 0 {
            self.rounded = told.saturating_mul(cell).saturating_sub(left);
        }
        let told = u32::try_from(told).unwrap_or(u32::MAX);
        self.owed = self.owed.saturating_sub(told);
        self.owed_full = 0;
        told
    }

    fn is_idle(&self, now: u64) -> bool {
        self.full <= now && self.blocked <= now && self.minute_is_over(now)
    }
}

impl Buckets {
    pub(super) fn new(rule: Gcra) -> Self {
        Self {
            rule,
            users: DashMap::default(),
        }
    }

    /// Takes a cell from the user's bucket on this node, which may owe it if `nodes` are known.
    pub(super) fn claim(
        &self,
        user: &UserId,
        nodes: Option<u32>,
        now: Instant,
    ) -> Result<Claim, RateLimited> {
        let now = self.rule.since_begin(now);
        let mut bucket = self.users.entry(Arc::clone(user)).or_default();
        bucket.begin_minute(now);
        if bucket.blocked > now {
            let wait = Duration::from_nanos(bucket.blocked - now);
            return Err(self.rule.refusal(wait));
        }
        let cell = self.cell();
        // Always counts, so that this node's bucket is right when Redis fails.
        let local = self.rule.take(bucket.full, now);
        let local = local.map(|full| bucket.full = full);
        let allowance = nodes.map_or(0, |nodes| self.allowance(nodes));
        if local.is_ok() && !bucket.asks && bucket.owed < allowance {
            bucket.owe(1, cell, now);
            return Ok(Claim::Admitted);
        }
        let owed = bucket.tell(cell, now);
        // Until the answer: meanwhile the user must not owe again.
        bucket.asks = true;
        Ok(Claim::Ask { owed, local })
    }

    /// Records cells that Redis was to count, and gave no answer.
    pub(super) fn owe(&self, user: &UserId, cells: u32, now: Instant) {
        let now = self.rule.since_begin(now);
        let mut bucket = self.users.entry(Arc::clone(user)).or_default();
        if cells > 0 {
            bucket.owe(cells, self.cell(), now);
            // Else a debt that is told again and again without an answer would never end.
            let rounded = std::mem::take(&mut bucket.rounded);
            bucket.owed_full = bucket.owed_full.saturating_sub(rounded);
        }
    }

    /// Records what Redis has counted for the user.
    pub(super) fn record(&self, user: &UserId, counted: Counted, now: Instant) {
        let now = self.rule.since_begin(now);
        let mut bucket = self.users.entry(Arc::clone(user)).or_default();
        bucket.rounded = 0;
        match counted {
            Counted::Left(cells) => bucket.asks = cells < self.rule.limit() / 2,
            Counted::Over(wait) => bucket.blocked = now.saturating_add(nanoseconds(wait)),
        }
    }

    /// Drops the users whose buckets need no state.
    pub(super) fn drop_idle(&self, now: Instant) {
        let now = self.rule.since_begin(now);
        self.users.retain(|_, bucket| !bucket.is_idle(now));
        self.users.shrink_to_fit();
    }

    fn cell(&self) -> u64 {
        nanoseconds(self.rule.cell()).max(1)
    }

    /// The cells that a user may owe on each of so many nodes.
    fn allowance(&self, nodes: u32) -> u32 {
        self.rule.limit() / OWED_SHARE.saturating_mul(nodes)
    }
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroU32;

    use super::*;

    const LIMIT: u32 = 100;

    struct Fixture {
        buckets: Buckets,
        user: UserId,
        now: Instant,
    }

    impl Fixture {
        fn new() -> Self {
            let now = Instant::now();
            let rule = Gcra::new(NonZeroU32::new(LIMIT).unwrap(), now);
            Self {
                buckets: Buckets::new(rule),
                user: UserId::from("ann"),
                now,
            }
        }

        fn claim(&self, nodes: u32) -> Result<Claim, RateLimited> {
            self.buckets.claim(&self.user, Some(nodes), self.now)
        }

        fn record(&self, counted: Counted) {
            self.buckets.record(&self.user, counted, self.now);
        }
    }

    fn ask(owed: u32) -> Claim {
        let local = Ok(());
        Claim::Ask { owed, local }
    }

    #[test]
    fn a_user_owes_a_share_of_the_limit_that_falls_with_the_nodes() {
        for (nodes, allowance) in [(1, 5), (2, 2), (5, 1), (6, 0)] {
            let one = Fixture::new();
            for _ in 0..allowance {
                assert_eq!(one.claim(nodes), Ok(Claim::Admitted), "{nodes} nodes");
            }
            assert_eq!(one.claim(nodes), Ok(ask(allowance)), "{nodes} nodes");
            assert_eq!(one.claim(nodes), Ok(ask(0)), "not answered yet");
        }
    }

    #[test]
    fn nobody_owes_while_the_nodes_are_unknown() {
        let one = Fixture::new();
        assert_eq!(one.buckets.claim(&one.user, None, one.now), Ok(ask(0)));
    }

    #[test]
    fn a_user_who_has_used_half_of_the_limit_is_counted_at_each_request() {
        let one = Fixture::new();
        one.record(Counted::Left(LIMIT / 2 - 1));
        for _ in 0..3 {
            assert_eq!(one.claim(1), Ok(ask(0)));
        }
        one.record(Counted::Left(LIMIT / 2));
        assert_eq!(one.claim(1), Ok(Claim::Admitted));
    }

    #[test]
    fn a_blocked_user_is_refused_until_the_next_cell() {
        let mut one = Fixture::new();
        one.record(Counted::Over(Duration::from_secs(2)));
        let refusal = one.claim(1).unwrap_err();
        assert_eq!(refusal.retry_after, Duration::from_secs(2));
        one.now += Duration::from_secs(2);
        assert_eq!(one.claim(1), Ok(Claim::Admitted));
    }

    #[test]
    fn cells_that_are_refilled_are_not_told() {
        let mut one = Fixture::new();
        for _ in 0..5 {
            assert_eq!(one.claim(1), Ok(Claim::Admitted));
        }
        // Three of five cells of 0.6 s.
        one.now += Duration::from_millis(1_800);
        assert_eq!(one.claim(1), Ok(ask(2)));
    }

    #[test]
    fn redis_learns_later_of_cells_that_it_gave_no_answer_for() {
        let one = Fixture::new();
        assert_eq!(one.buckets.claim(&one.user, None, one.now), Ok(ask(0)));
        one.buckets.owe(&one.user, 1, one.now);
        assert_eq!(one.claim(1), Ok(ask(1)));
        one.buckets.owe(&one.user, 2, one.now);
        assert_eq!(one.claim(1), Ok(ask(2)), "that one too");
        assert_eq!(one.claim(1), Ok(ask(0)), "told once");
    }

    #[test]
    fn a_debt_is_refilled_while_redis_does_not_answer() {
        let mut one = Fixture::new();
        one.buckets.owe(&one.user, 50, one.now);
        // One request per 0.7 s, where a cell is refilled in 0.6 s.
        for _ in 0..300 {
            one.now += Duration::from_millis(700);
            let Ok(Claim::Ask { owed, .. }) = one.buckets.claim(&one.user, None, one.now) else {
                panic!("nobody is refused");
            };
            one.buckets.owe(&one.user, owed + 1, one.now);
        }
        one.now += Duration::from_millis(700);
        assert_eq!(one.buckets.claim(&one.user, None, one.now), Ok(ask(0)));
    }

    #[test]
    fn a_user_owes_at_most_the_allowance_in_a_minute() {
        let mut one = Fixture::new();
        for _ in 0..5 {
            assert_eq!(one.claim(1), Ok(Claim::Admitted));
        }
        one.now += Duration::from_secs(50);
        for _ in 0..2 {
            assert_eq!(one.claim(1), Ok(ask(0)), "refilled, but not told");
            one.record(Counted::Left(LIMIT - 1));
        }
        one.now += Duration::from_secs(10);
        assert_eq!(one.claim(1), Ok(Claim::Admitted), "the next minute");
    }

    #[test]
    fn idle_users_take_no_memory() {
        let mut one = Fixture::new();
        assert_eq!(one.claim(1), Ok(Claim::Admitted));
        one.buckets.drop_idle(one.now);
        assert_eq!(one.buckets.users.len(), 1);
        one.now += BUCKET;
        one.buckets.drop_idle(one.now);
        assert!(one.buckets.users.is_empty());
    }
}
