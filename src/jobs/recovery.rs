//! Payment recovery jobs: repeat the gateway calls of stale payments and refunds, and ask about
//! payments that wait for their buyers.

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
/// Asks about payments that wait for their buyers, apart from the above: neither delays the other.
pub async fn run_waiting(checkout: Checkout, tasks: Tasks) {
    while tasks.pause(EVERY).await {
        if let Err(error) = checkout.recover_waiting_once().await {
            tracing::debug!(%error, "cannot read waiting payments: {error}");
        }
    }
}
