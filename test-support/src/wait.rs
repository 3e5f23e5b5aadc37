//! Polls a condition until it holds or a deadline passes.

use std::time::{Duration, Instant};

use anyhow::ensure;

/// Interval between two probes.
const POLL: Duration = Duration::from_millis(20);

/// Calls `probe` until it returns a value.
///
/// # Errors
/// When no probe that was started before the deadline returns a value.
pub async fn eventually<T>(
    what: &str,
    within: Duration,
    mut probe: impl AsyncFnMut() -> Option<T>,
) -> anyhow::Result<T> {
    let deadline = Instant::now() + within;
    loop {
        // A probe that was started in time counts, even if a busy machine answers it late.
        let in_time = Instant::now() < deadline;
        if let Some(found) = probe().await {
            ensure!(in_time, "only after {within:?}: {what}");
            return Ok(found);
        }
        ensure!(in_time, "not within {within:?}: {what}");
        tokio::time::sleep(POLL).await;
    }
}
