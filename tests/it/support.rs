//! What the tests stand on: processes, servers, HTTP calls and ledgers; every wait here has a deadline.

pub(crate) mod browser;
pub(crate) mod contention;
pub(crate) mod crowd;
pub(crate) mod events;
pub(crate) mod front;
pub(crate) mod gateway;
pub(crate) mod http;
pub(crate) mod ledger;
pub(crate) mod liar;
pub(crate) mod load;
pub(crate) mod localstripe;
pub(crate) mod metrics;
pub(crate) mod postgres;
pub(crate) mod process;
pub(crate) mod prometheus;
pub(crate) mod proxy;
pub(crate) mod race;
pub(crate) mod redis;
pub(crate) mod service;
pub(crate) mod shop;
pub(crate) mod tokens;

use std::{
    net::TcpListener,
    path::PathBuf,
    time::{Duration, Instant, SystemTime},
};

use chrono::{DateTime, TimeDelta, Utc};

/// How often a condition is looked at.
const POLL: Duration = Duration::from_millis(20);

/// Long enough for whatever the service does by itself within a few seconds, on a slow machine too.
pub(crate) const SOON: Duration = Duration::from_secs(15);

/// Asks `probe` until it finds something; the test fails when the deadline passes first.
pub(crate) async fn eventually<T>(
    what: &str,
    within: Duration,
    mut probe: impl AsyncFnMut() -> Option<T>,
) -> T {
    let deadline = Instant::now() + within;
    loop {
        // A probe that was begun in time counts, however long a busy machine takes to answer it.
        let in_time = Instant::now() < deadline;
        if let Some(found) = probe().await {
            assert!(in_time, "only after {within:?}: {what}");
            return found;
        }
        assert!(in_time, "not within {within:?}: {what}");
        tokio::time::sleep(POLL).await;
    }
}

/// Some when the condition holds, for `eventually`.
pub(crate) fn when(condition: bool) -> Option<()> {
    condition.then_some(())
}

/// A time relative to now, as the API spells it.
pub(crate) fn in_seconds(seconds: i64) -> String {
    (DateTime::<Utc>::from(SystemTime::now()) + TimeDelta::seconds(seconds)).to_rfc3339()
}

/// A port that nobody listens on, below the range that outgoing connections take theirs from.
pub(crate) fn free_port() -> u16 {
    let mut tries = std::iter::repeat_with(|| rand::random_range(10_000..20_000));
    tries
        .find(|port| TcpListener::bind(("127.0.0.1", *port)).is_ok())
        .unwrap()
}

/// A file of the repository.
pub(crate) fn repository(path: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join(path)
}
