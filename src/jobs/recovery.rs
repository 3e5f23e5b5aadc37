//! Payment recovery job: repeats the gateway calls of stale payments and refunds.

use std::time::Duration;

use crate::{checkout::Checkout, tasks::Tasks};

/// A run costs one statement over an index that is nearly always empty.
const EVERY: Duration = Duration::from_secs(1);

pub async fn run(checkout: Checkout, tasks: Tasks) {
    while tasks.pause(EVERY).await {
        if let Err(error) = checkout.recover_once().await {
            tracing::debug!(%error, "cannot read open payments: {error}");
        }
    }
}
