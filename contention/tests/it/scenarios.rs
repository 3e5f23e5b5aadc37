//! Every scenario holds on a sound service, at a small size.

use rstest::rstest;
use serde_json::Value;

use crate::support::runner::{Outcome, answered, run};

async fn small(scenario: &str, users: &str) -> Outcome {
    run(&[scenario, "--users", users]).await
}

fn sold(run: &Value) -> u64 {
    run["units"]["sold"].as_u64().unwrap()
}

#[rstest]
#[case("single-unit", "60", 1)]
#[case("limited", "80", 5)]
#[case("bulk", "30", 10)]
#[case("all-or-nothing", "10", 5)]
#[case("overbooking", "40", 10)]
#[case("seats", "10", 16)]
#[tokio::test]
async fn buyers_who_arrive_at_once_get_every_unit(
    #[case] scenario: &str,
    #[case] users: &str,
    #[case] units: u64,
) {
    let outcome = small(scenario, users).await;
    let run = &outcome.held()[0];
    assert_eq!(sold(run), units, "{run}");
    assert_eq!(run["units"]["oversold"], 0);
}

/// Other load on the machine may slow refusals down, but not in most runs.
#[tokio::test]
async fn refusals_are_faster_than_orders() {
    let promise = "refusals are faster than orders";
    let mut slower = 0;
    for _ in 0..5 {
        let outcome = small("depleted", "200").await;
        if outcome.code == Some(1) && outcome.breaches().starts_with(promise) {
            slower += 1;
        } else {
            assert_eq!(sold(&outcome.held()[0]), 0);
        }
    }
    assert!(slower <= 2, "{slower} of 5 times");
}

#[tokio::test]
async fn one_unit_short_leaves_one_buyer_over() {
    let outcome = run(&["one-short", "--users", "40", "--stock", "39"]).await;
    let run = &outcome.held()[0];
    assert_eq!(sold(run), 39);
    assert_eq!(answered(run, "sold_out") + answered(run, "waitlisted"), 1);
}

#[tokio::test]
async fn places_behind_a_long_waitlist_are_distinct() {
    let outcome = small("long-waitlist", "40").await;
    let run = &outcome.held()[0];
    assert_eq!(answered(run, "waitlisted"), 80, "{run}");
}

#[tokio::test]
async fn arrivals_at_a_rate_are_on_schedule() {
    let outcome = run(&["hyper", "--seconds", "2", "--stock", "50"]).await;
    let run = &outcome.held()[0];
    assert_eq!((sold(run), &run["offered"]), (50, &Value::from(500)));
    let seconds = run["seconds"].as_f64().unwrap();
    assert!((1.9..8.0).contains(&seconds), "{seconds}");
}

#[tokio::test]
async fn browse_and_mixed_hold() {
    let outcome = run(&["browse", "mixed", "--seconds", "1", "--connections", "16"]).await;
    let runs = outcome.held();
    assert_eq!(runs.len(), 3);
    assert_eq!(runs[0]["variant"], "without Redis");
    assert_eq!(runs[1]["variant"], "with Redis");
    for run in &runs[..2] {
        assert!(answered(run, "ok") > 50, "{run}");
    }
    assert_eq!(answered(&runs[2], "created"), 60);
    assert_eq!(outcome.report["ratios"].as_array().unwrap().len(), 1);
}

#[tokio::test]
async fn limits_expiry_and_payments_hold() {
    let arguments = [
        "scalper",
        "expire",
        "pay-rush",
        "take-over",
        "--users",
        "60",
        "--stock",
        "30",
    ];
    let outcome = run(&arguments).await;
    let runs = outcome.held();
    assert_eq!(sold(&runs[0]), 2, "the scalper");
    assert_eq!(answered(&runs[1], "waitlisted"), 30);
    assert_eq!(sold(&runs[1]), 30, "the waiting buyers");
    for promise in ["go to waiting buyers", "charged once", "are taken over"] {
        let checks = runs
            .iter()
            .flat_map(|run| run["checks"].as_array().unwrap());
        let mut promises = checks.map(|check| check["promise"].as_str().unwrap());
        assert!(
            promises.any(|checked| checked.contains(promise)),
            "{promise}"
        );
    }
}

#[tokio::test]
async fn bad_requests_and_greedy_users_are_refused() {
    let outcome = run(&["edge", "rate-limit"]).await;
    let runs = outcome.held();
    assert_eq!(sold(&runs[0]), 0);
    assert!(answered(&runs[1], "rate_limited") > 0, "{}", runs[1]);
}

#[tokio::test]
async fn baseline_designs_are_compared() {
    let arguments = [
        "throughput",
        "--baseline",
        "--seconds",
        "1",
        "--connections",
        "16",
        "--users",
        "100",
    ];
    let outcome = run(&arguments).await;
    let runs = outcome.held();
    let variants: Vec<_> = runs
        .iter()
        .map(|run| run["variant"].as_str().unwrap())
        .collect();
    assert_eq!(variants, ["naive", "no batches", ""]);
    assert!(runs.iter().all(|run| answered(run, "created") > 0));
    let ratios = outcome.report["ratios"].as_array().unwrap();
    assert_eq!(ratios.len(), 3, "{ratios:?}");
}

#[tokio::test]
async fn several_numbers_of_nodes_make_several_runs() {
    let outcome = run(&["overbooking", "--nodes", "1,3", "--users", "30"]).await;
    let nodes = outcome
        .held()
        .iter()
        .map(|run| run["service"]["nodes"].as_u64().unwrap());
    assert_eq!(nodes.collect::<Vec<_>>(), [1, 3]);
}

#[rstest]
#[case::redis("redis-down", "the lock comes back")]
#[case::refusing_redis("lock-refuses", "the lock comes back")]
#[case::database("database-down", "sales go on")]
#[case::read_only_database("read-only", "only reads is noticed")]
#[case::holder("paused-holder", "a paused holder turns nobody away")]
#[case::streams("stream-flood", "streams leave connections")]
#[tokio::test]
async fn injected_faults_break_no_promise(#[case] scenario: &str, #[case] promise: &str) {
    let outcome = run(&[scenario]).await;
    let run = &outcome.held()[0];
    assert!(!run["faults"].as_array().unwrap().is_empty());
    let checks = run["checks"].as_array().unwrap();
    assert!(
        checks
            .iter()
            .any(|check| check["promise"].as_str().unwrap().contains(promise)),
        "{checks:?}"
    );
}

#[tokio::test]
async fn a_stopped_postgresql_breaks_no_promise() {
    let outcome = run(&["database-down", "--postgres"]).await;
    let run = &outcome.held()[0];
    assert_eq!(run["service"]["database"], "postgres");
    assert_eq!(run["faults"][0]["what"], "PostgreSQL killed");
}
