//! The figures of the read cache.

use std::sync::LazyLock;

use metrics::{Counter, counter, describe_counter};

static HITS: LazyLock<Counter> =
    LazyLock::new(|| counter!("flash_sale_cache_requests_total", "result" => "hit"));
static MISSES: LazyLock<Counter> =
    LazyLock::new(|| counter!("flash_sale_cache_requests_total", "result" => "miss"));

pub(super) fn init() {
    describe_counter!(
        "flash_sale_cache_requests_total",
        "Reads of products, by result: hit (answered from memory or Redis), miss (the database was asked)."
    );
    HITS.absolute(0);
    MISSES.absolute(0);
}

/// Answered without the database.
pub fn hit() {
    HITS.increment(1);
}

/// The database was asked.
pub fn miss() {
    MISSES.increment(1);
}
