//! Rate limiter per client address (GCRA): a bucket of a minute's requests that refills steadily,
//! counted by this node alone, so that a flood costs no call to Redis.

use std::{
    net::IpAddr,
    num::NonZeroU32,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use moka::{policy::EvictionPolicy, sync::Cache};

use super::RateLimited;

/// How long an empty bucket takes to refill.
const BUCKET: Duration = Duration::from_mins(1);
/// Addresses with a bucket; beyond it the one that was not seen for the longest time begins anew.
/// About 20 MB when full.
const ADDRESSES_MAX: u64 = 100_000;

/// The buckets of client addresses.
#[derive(Debug)]
pub struct AddressLimiter {
    limit: NonZeroU32,
    began: Instant,
    /// For each address, when its bucket is full: nanoseconds since `began`.
    full: Cache<IpAddr, Arc<AtomicU64>, ahash::RandomState>,
}

impl AddressLimiter {
    /// `limit` is the requests a minute.
    pub fn new(limit: NonZeroU32, now: Instant) -> Self {
        // With moka's default policy a flood of new addresses would leave them without a bucket.
        let full = Cache::builder()
            .max_capacity(ADDRESSES_MAX)
            .time_to_idle(BUCKET)
            .eviction_policy(EvictionPolicy::lru());
        Self {
            limit,
            began: now,
            full: full.build_with_hasher(ahash::RandomState::default()),
        }
    }

    /// Takes a cell from the bucket of the address.
    pub fn admit(&self, address: IpAddr, now: Instant) -> Result<(), RateLimited> {
        let now = nanoseconds(now.saturating_duration_since(self.began));
        let cell = nanoseconds(BUCKET / self.limit.get()).max(1);
        let bucket = nanoseconds(BUCKET);
        let full = self.full.get_with(address, Arc::default);
        let take = |full: u64| {
            let taken = full.max(now).saturating_add(cell);
            (taken - now <= bucket).then_some(taken)
        };
        match full.fetch_update(Ordering::Relaxed, Ordering::Relaxed, take) {
            Ok(_) => Ok(()),
            Err(full) => Err(RateLimited {
                limit: self.limit.get(),
                retry_after: Duration::from_nanos((full + cell).saturating_sub(now + bucket)),
                reset: Duration::from_nanos(full.saturating_sub(now)),
            }),
        }
    }
}

fn nanoseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;

    fn address(number: u32) -> IpAddr {
        IpAddr::V4(Ipv4Addr::from_bits(number))
    }

    #[test]
    fn each_address_has_a_bucket_that_refills_steadily() {
        let begun = Instant::now();
        let limiter = AddressLimiter::new(NonZeroU32::new(6).unwrap(), begun);
        for _ in 0..6 {
            assert_eq!(limiter.admit(address(1), begun), Ok(()));
        }
        let refusal = limiter.admit(address(1), begun).unwrap_err();
        assert_eq!(
            refusal,
            RateLimited {
                limit: 6,
                retry_after: Duration::from_secs(10),
                reset: Duration::from_mins(1),
            }
        );
        assert_eq!(limiter.admit(address(2), begun), Ok(()));
        let later = begun + Duration::from_secs(10);
        assert_eq!(limiter.admit(address(1), later), Ok(()));
        assert!(limiter.admit(address(1), later).is_err());
    }

    #[test]
    fn a_flood_of_addresses_takes_bounded_memory() {
        let begun = Instant::now();
        let limiter = AddressLimiter::new(NonZeroU32::new(1).unwrap(), begun);
        let addresses = u32::try_from(ADDRESSES_MAX).unwrap() + 50_000;
        for number in 0..addresses {
            assert_eq!(limiter.admit(address(number), begun), Ok(()));
        }
        limiter.full.run_pending_tasks();
        assert!(limiter.full.entry_count() <= ADDRESSES_MAX);
        assert!(limiter.admit(address(addresses - 1), begun).is_err());
    }
}
