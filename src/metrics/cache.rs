//! Metrics of the read cache.

use std::sync::LazyLock;

use metrics::{Counter, counter, describe_counter};

static HITS: LazyLock<Counter> =
    LazyLock::new(|| counter!("flash_sale_cache_requests_total", "result" => "hit"));
static MISSES: LazyLock<Counter> =
    LazyLock::new(|| counter!("flash_sale_cache_requests_total", "result" => "miss"));

pub(super) fn init() {
    describe_counter!(
        "flash_sale_cache_requests_total",
        "Product reads by result: hit (served from memory or Redis), miss (read from the database)."
    );
    HITS.absolute(0);
    MISSES.absolute(0);
}

/// Counts a read from memory or Redis.
pub fn hit() {
    HITS.increment(1);
}

/// Counts a read from the database.
pub fn miss() {
    MISSES.increment(1);
}
