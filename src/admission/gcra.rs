//! GCRA (generic cell rate algorithm): a bucket of a minute's requests that refills steadily. Its
//! whole state is the time at which it will be full again.

use std::{
    num::NonZeroU32,
    time::{Duration, Instant},
};

/// How long an empty bucket takes to refill.
pub(super) const BUCKET: Duration = Duration::from_mins(1);

/// This caller sent too many requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("over {limit} requests a minute")]
pub struct RateLimited {
    pub limit: u32,
    /// After this long the next request is admitted.
    pub retry_after: Duration,
    /// After this long without requests the whole limit is available again.
    pub reset: Duration,
}

/// The rule of all buckets with one limit. Times are nanoseconds since `began`.
#[derive(Clone, Copy, Debug)]
pub(super) struct Gcra {
    limit: NonZeroU32,
    began: Instant,
}

impl Gcra {
    /// `limit` is the requests a minute.
    pub(super) fn new(limit: NonZeroU32, began: Instant) -> Self {
        Self { limit, began }
    }

    /// The requests a minute.
    pub(super) fn limit(self) -> u32 {
        self.limit.get()
    }

    /// The refill time of a cell, which is one request.
    pub(super) fn cell(self) -> Duration {
        BUCKET / self.limit.get()
    }

    pub(super) fn since_begin(self, at: Instant) -> u64 {
        nanoseconds(at.saturating_duration_since(self.began))
    }

    /// Takes a cell from the bucket that is full at `full`: the time at which it is full afterwards.
    pub(super) fn take(self, full: u64, now: u64) -> Result<u64, RateLimited> {
        let cell = nanoseconds(self.cell()).max(1);
        let taken = full.max(now).saturating_add(cell);
        match taken.saturating_sub(now.saturating_add(nanoseconds(BUCKET))) {
            0 => Ok(taken),
            wait => Err(self.refusal(Duration::from_nanos(wait))),
        }
    }

    /// The refusal of a caller whose next cell is there after `retry_after`.
    pub(super) fn refusal(self, retry_after: Duration) -> RateLimited {
        RateLimited {
            limit: self.limit(),
            retry_after,
            reset: (BUCKET + retry_after).saturating_sub(self.cell()),
        }
    }
}

pub(super) fn nanoseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}
