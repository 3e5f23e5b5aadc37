//! Test helpers: processes, servers, HTTP calls, database reads; every wait has a deadline.

pub(crate) mod alertmanager;
pub(crate) mod cluster;
pub(crate) mod collector;
pub(crate) mod crowd;
pub(crate) mod events;
pub(crate) mod front;
pub(crate) mod gateway;
pub(crate) mod haproxy;
pub(crate) mod http;
pub(crate) mod identity;
pub(crate) mod lanes;
pub(crate) mod ledger;
pub(crate) mod load;
pub(crate) mod localstripe;
pub(crate) mod openid;
pub(crate) mod page;
pub(crate) mod pgbouncer;
pub(crate) mod postgres;
pub(crate) mod prometheus;
pub(crate) mod proxy;
pub(crate) mod python;
pub(crate) mod race;
pub(crate) mod redis;
pub(crate) mod rival;
pub(crate) mod service;
pub(crate) mod shop;
pub(crate) mod tokens;
pub(crate) mod upgrade;
pub(crate) mod webhook;
pub(crate) mod wire;

use std::{
    path::PathBuf,
    time::{Duration, SystemTime},
};

use chrono::{DateTime, TimeDelta, Utc};

/// Deadline for background work of the service that takes a few seconds, also on a slow machine.
pub(crate) const SOON: Duration = Duration::from_secs(15);

/// Calls `probe` until it returns a value; the test fails when the deadline passes first.
pub(crate) async fn eventually<T>(
    what: &str,
    within: Duration,
    probe: impl AsyncFnMut() -> Option<T>,
) -> T {
    test_support::wait::eventually(what, within, probe)
        .await
        .unwrap()
}

/// Some when the condition holds, for `eventually`.
pub(crate) fn when(condition: bool) -> Option<()> {
    condition.then_some(())
}

/// A time relative to now, in the format of the API (RFC 3339).
pub(crate) fn in_seconds(seconds: i64) -> String {
    (DateTime::<Utc>::from(SystemTime::now()) + TimeDelta::seconds(seconds)).to_rfc3339()
}

/// A file of the repository.
pub(crate) fn repository(path: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join(path)
}
