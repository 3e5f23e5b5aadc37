//! Payment recovery job: repeats the gateway calls of stale payments and refunds.

use std::time::Duration;

use crate::{checkout::Checkout, tasks::Tasks};

/// A run costs two statements over indexes that are nearly always empty.
const EVERY: Duration = Duration::from_secs(1);

pub async fn run(checkout: Checkout, tasks: Tasks) {
    let mut pause = EVERY;
    while tasks.pause(pause).await {
        pause = match checkout.recover().await {
            Ok(asked) => asked.unwrap_or(EVERY).max(EVERY),
            Err(error) => {
                tracing::debug!(%error, "cannot read open payments: {error}");
                EVERY
            }
        };
    }
}
