//! Metrics of the identity provider's keys.

use metrics::{counter, describe_counter, describe_gauge, gauge};

const FETCHES: &str = "flash_sale_auth_key_fetches_total";
const KEYS: &str = "flash_sale_auth_keys";

pub(super) fn init() {
    describe_counter!(
        FETCHES,
        "Fetches of the identity provider's keys by outcome: done, failed."
    );
    describe_gauge!(
        KEYS,
        "Keys of the identity provider that verify tokens; 0 before the first fetch, or without a provider."
    );
    for outcome in [Fetch::Done, Fetch::Failed] {
        counter!(FETCHES, "outcome" => outcome.name()).absolute(0);
    }
    keys(0);
}

/// How a fetch has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fetch {
    Done,
    Failed,
}

impl Fetch {
    fn name(self) -> &'static str {
        match self {
            Self::Done => "done",
            Self::Failed => "failed",
        }
    }
}

pub fn fetched(outcome: Fetch) {
    counter!(FETCHES, "outcome" => outcome.name()).increment(1);
}

pub fn keys(count: usize) {
    gauge!(KEYS).set(u32::try_from(count).unwrap_or(u32::MAX));
}
