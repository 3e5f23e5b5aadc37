//! Metrics of the scheduled check of the invariants.

use std::time::Duration;

use metrics::{Unit, counter, describe_counter, describe_gauge, gauge};

const PROBLEMS: &str = "flash_sale_verify_problems";
const RUNS: &str = "flash_sale_verify_runs_total";
const LAST_RUN: &str = "flash_sale_verify_last_run_timestamp_seconds";
const DURATION: &str = "flash_sale_verify_duration_seconds";
const INTERVAL: &str = "flash_sale_verify_interval_seconds";

pub(super) fn init() {
    describe_gauge!(
        PROBLEMS,
        "Rows that broke an invariant in the last complete scheduled check, and still did seconds later, by check; at most 100 are counted."
    );
    describe_counter!(
        RUNS,
        "Scheduled checks of the invariants by result: completed, failed (a query took too long or the database was not reached)."
    );
    describe_gauge!(
        LAST_RUN,
        Unit::Seconds,
        "When the last scheduled check of the invariants was completed, as a Unix time; 0 before the first."
    );
    describe_gauge!(
        DURATION,
        Unit::Seconds,
        "Time that the last complete scheduled check of the invariants took."
    );
    describe_gauge!(
        INTERVAL,
        Unit::Seconds,
        "Time between two scheduled checks of the invariants: VERIFY_SECONDS; 0 where there are none."
    );
    for result in ["completed", "failed"] {
        counter!(RUNS, "result" => result).absolute(0);
    }
    gauge!(LAST_RUN).set(0);
    gauge!(DURATION).set(0);
    interval(Duration::ZERO);
}

pub fn interval(interval: Duration) {
    gauge!(INTERVAL).set(interval);
}

/// Rows that break an invariant; `check` is its name.
pub fn problems(check: &'static str, rows: usize) {
    gauge!(PROBLEMS, "check" => check).set(super::number(rows));
}

/// A check was completed so long after the Unix epoch.
pub fn completed(at: Duration, took: Duration) {
    counter!(RUNS, "result" => "completed").increment(1);
    gauge!(LAST_RUN).set(at);
    gauge!(DURATION).set(took);
}

pub fn failed() {
    counter!(RUNS, "result" => "failed").increment(1);
}
