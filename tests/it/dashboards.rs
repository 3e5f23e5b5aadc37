//! Grafana dashboards and Prometheus alerts: every query returns data on a real Prometheus.

use std::{
    collections::BTreeSet,
    fs,
    process::Command,
    time::{Duration, Instant},
};

use rstest::rstest;
use serde_json::json;
use test_support::dashboards::{self, Query};

use crate::support::{
    eventually,
    load::{Load, door},
    prometheus::prometheus_of,
    repository,
    shop::{Backend, Shop},
};

const FILLED_WITHIN: Duration = Duration::from_secs(40);

/// Every query of the panels. Those of a run's own metrics are tested with the runs
/// (`contention/tests/it/lab.rs`), those of `HAProxy` and PostgreSQL with a cluster
/// (`cluster_faults.rs`).
fn queries() -> Vec<Query> {
    let files = fs::read_dir(repository("grafana/dashboards")).unwrap();
    let files = files.map(|file| file.unwrap().path());
    files
        .flat_map(|file| dashboards::queries(&file).unwrap())
        .filter(|query| !query.is_annotation && !elsewhere(&query.text))
        .collect()
}

fn elsewhere(query: &str) -> bool {
    let metrics = ["contention_", "haproxy_", "pg_"];
    metrics.iter().any(|name| query.contains(name))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_panel_query_returns_data() {
    let queries = queries();
    assert!(
        queries.len() >= 8,
        "acquire outcomes, wait, hold, batch, fence, nodes, orders, stock"
    );
    let shop = Shop::open(Backend::Postgres).await;
    let product = shop
        .service()
        .product(1_000_000, json!({ "sku": "watched" }))
        .await;
    let sold_out = shop.service().product(0, json!({ "waitlist": true })).await;
    let last = shop.service().product(1, json!({})).await;
    shop.service().buy("ann", last, 1).await.success(201);
    let join = shop.service().order_or_wait("ann", sold_out, 1);
    join.send().await.success(202);
    let load = Load::start(&[door(shop.service().front())], product, 2);
    load.sells(20).await;
    let prometheus = prometheus_of(&shop.service().operations).await;

    let deadline = Instant::now() + FILLED_WITHIN;
    for Query { title, text, .. } in &queries {
        let within = deadline.saturating_duration_since(Instant::now());
        eventually(
            &format!("\"{title}\" returns data: {text}"),
            within,
            async || {
                let result = prometheus.query(text).await;
                let result = result.unwrap_or_else(|error| panic!("{title}: {text}: {error:#}"));
                (!result.is_empty()).then_some(())
            },
        )
        .await;
    }

    load.finish().await;
}

/// An alert on a metric that the service does not export would never fire.
#[tokio::test]
async fn every_metric_of_the_alerts_is_exported() {
    let rules = fs::read_to_string(repository("prometheus/rules.yml")).unwrap();
    let is_name = |letter: char| letter.is_ascii_alphanumeric() || letter == '_';
    let words = rules.split(|letter| !is_name(letter));
    let named: BTreeSet<&str> = words
        .filter(|word| word.starts_with("flash_sale_"))
        .collect();
    assert!(named.len() >= 5, "{named:?}");
    let shop = Shop::open(Backend::Postgres).await;
    let product = shop.service().product(5, json!({})).await;
    shop.service().buy("ann", product, 1).await.success(201);

    let metrics = shop.service().metrics().await;

    for name in named {
        assert!(metrics.names().contains(&name), "{name} is not exported");
    }
}

/// The tests of the rules, which promtool runs, let each alert fire and end when none does.
/// `scripts/alerts` runs them at other intervals, and sends each alert to a receiver.
#[test]
fn every_alert_fires_and_resolves_in_a_test_of_the_rules() {
    let read = |path| fs::read_to_string(repository(path)).unwrap();
    let rules = read("prometheus/rules.yml");
    let alerts: BTreeSet<&str> = rules
        .lines()
        .filter_map(|line| line.trim().strip_prefix("- alert: "))
        .collect();
    let tests = read("prometheus/slow-scrape.test.yml");
    let mut resolved = BTreeSet::new();
    for test in tests.split("\n  - name: ") {
        let firing = test.split("alertname=\"").skip(1);
        let firing = firing.filter_map(|text| text.split('"').next());
        let last = test.rsplit("- { expr: ").next().unwrap_or_default();
        let ends_quietly = last.starts_with("'ALERTS{alertstate=\"firing\"}', eval_time: ")
            && last.contains("exp_samples: [] }")
            && !last.contains("alertname");
        if ends_quietly {
            resolved.extend(firing);
        }
    }
    assert_eq!(resolved, alerts);
}

#[rstest]
#[case::configuration(&["check", "config"], "prometheus.yml")]
#[case::alerts(&["test", "rules"], "prometheus/rules.test.yml")]
#[case::alerts_at_slow_scrapes(&["test", "rules"], "prometheus/slow-scrape.test.yml")]
fn promtool_accepts_the_configuration_and_the_alerts(#[case] check: &[&str], #[case] file: &str) {
    let output = Command::new("promtool")
        .args(check)
        .arg(repository(file))
        .output();
    let output = output.expect("promtool is installed: run ./scripts/test");
    assert!(output.status.success(), "{output:?}");
}
