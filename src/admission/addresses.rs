//! Rate limiter per client address (GCRA): a bucket of a minute's requests that refills steadily,
//! counted by this node alone, so that a flood costs no call to Redis.

use std::{
    net::IpAddr,
    num::NonZeroU32,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Instant,
};

use moka::{policy::EvictionPolicy, sync::Cache};

use super::gcra::{BUCKET, Gcra, RateLimited};

/// Addresses with a bucket; beyond it the one that was not seen for the longest time begins anew.
/// About 20 MB when full.
const ADDRESSES_MAX: u64 = 100_000;

/// The buckets of client addresses.
#[derive(Debug)]
pub struct AddressLimiter {
    rule: Gcra,
    /// For each address, when its bucket is full.
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
            rule: Gcra::new(limit, now),
            full: full.build_with_hasher(ahash::RandomState::default()),
        }
    }

    /// Takes a cell from the bucket of the address.
    pub fn admit(&self, address: IpAddr, now: Instant) -> Result<(), RateLimited> {
        let now = self.rule.since_begin(now);
        let bucket = self.full.get_with(address, Arc::default);
        let take = |full: u64| self.rule.take(full, now).ok();
        match bucket.fetch_update(Ordering::Relaxed, Ordering::Relaxed, take) {
            Ok(_) => Ok(()),
            Err(full) => self.rule.take(full, now).map(drop),
        }
    }

    /// The refusal of the next request of the address, if its bucket is empty; takes nothing.
    pub fn refusal(&self, address: IpAddr, now: Instant) -> Option<RateLimited> {
        let bucket = self.full.get(&address)?;
        let full = bucket.load(Ordering::Relaxed);
        self.rule.take(full, self.rule.since_begin(now)).err()
    }
}

#[cfg(test)]
mod tests {
    use std::{net::Ipv4Addr, time::Duration};

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
