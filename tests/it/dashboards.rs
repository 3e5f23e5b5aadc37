//! Grafana dashboards and Prometheus alerts: every query returns data on a real Prometheus.

use std::{
    collections::BTreeSet,
    fs,
    process::Command,
    time::{Duration, Instant},
};

use rstest::rstest;
use serde_json::{Value, json};

use crate::support::{
    eventually,
    load::{Load, door},
    prometheus::{Prometheus, scraping},
    repository,
    shop::{Backend, Shop},
};

const FILLED_WITHIN: Duration = Duration::from_secs(40);

/// The title and query of every target of every panel, including panels inside rows.
fn queries(dashboard: &Value) -> Vec<(String, String)> {
    let mut found = Vec::new();
    for panel in dashboard["panels"].as_array().into_iter().flatten() {
        found.extend(queries(panel));
        let title = panel["title"].as_str().unwrap_or_default();
        for target in panel["targets"].as_array().into_iter().flatten() {
            let query = target["expr"].as_str().unwrap_or_default();
            found.push((title.to_owned(), query.to_owned()));
        }
    }
    found
}

/// Replaces the variables as Grafana does, for a scrape interval of one second.
fn filled_in(query: &str) -> String {
    let mut query = query.to_owned();
    for (variable, value) in [
        ("__rate_interval", "10s"),
        ("__interval", "10s"),
        ("__range", "5m"),
        ("product", ".*"),
        ("instance", ".*"),
        ("job", ".*"),
    ] {
        query = query.replace(&format!("${{{variable}}}"), value);
        query = query.replace(&format!("${{{variable}:regex}}"), value);
        query = query.replace(&format!("${variable}"), value);
    }
    assert!(!query.contains('$'), "an unknown variable in {query}");
    query
}

fn dashboards() -> Vec<Value> {
    let files = fs::read_dir(repository("grafana/dashboards"))
        .unwrap()
        .map(|file| file.unwrap().path());
    files
        .filter(|file| {
            file.extension()
                .is_some_and(|extension| extension == "json")
        })
        .map(|file| serde_json::from_str(&fs::read_to_string(file).unwrap()).unwrap())
        .collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_panel_query_returns_data() {
    let queries: Vec<_> = dashboards().iter().flat_map(queries).collect();
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
    let join = shop.service().order_or_wait("ann", sold_out, 1);
    join.send().await.success(202);
    let load = Load::start(&[door(shop.service().front())], product, 2);
    load.sells(20).await;
    let prometheus = Prometheus::start(&scraping(&shop.service().operations)).await;

    let deadline = Instant::now() + FILLED_WITHIN;
    for (title, query) in &queries {
        let within = deadline.saturating_duration_since(Instant::now());
        eventually(
            &format!("\"{title}\" returns data: {query}"),
            within,
            async || {
                let result = prometheus.query(&filled_in(query)).await;
                let result = result.unwrap_or_else(|error| panic!("{title}: {query}: {error}"));
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
