//! Upkeep job: refreshes the metrics of the recorder, the process and the Tokio runtimes.

use std::time::Duration;

use crate::{tasks::Tasks, telemetry::Upkeep};

/// The scrape interval in `prometheus.yml`.
const EVERY: Duration = Duration::from_secs(1);

pub async fn run(mut upkeep: Upkeep, tasks: Tasks) {
    while tasks.pause(EVERY).await {
        upkeep.run_once();
    }
}
