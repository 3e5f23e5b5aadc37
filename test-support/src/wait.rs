//! Polls a condition until it holds or a deadline passes.

use std::time::{Duration, Instant};

use anyhow::ensure;

/// How often a condition is looked at.
const POLL: Duration = Duration::from_millis(20);

/// Calls `probe` until it returns a value.
///
/// # Errors
/// When the deadline passes first, also if the probe that was running then returns a value.
pub async fn eventually<T>(
    what: &str,
    within: Duration,
    mut probe: impl AsyncFnMut() -> Option<T>,
) -> anyhow::Result<T> {
    let deadline = Instant::now() + within;
    loop {
        // A probe that was begun in time counts, however long a busy machine takes to answer it.
        let in_time = Instant::now() < deadline;
        if let Some(found) = probe().await {
            ensure!(in_time, "only after {within:?}: {what}");
            return Ok(found);
        }
        ensure!(in_time, "not within {within:?}: {what}");
        tokio::time::sleep(POLL).await;
    }
}
