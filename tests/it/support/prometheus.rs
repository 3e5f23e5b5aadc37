//! Prometheus that scrapes a service of the test.

use serde_json::Value;
use test_support::prometheus::{Prometheus, scraping};

use super::in_seconds;

/// Scrapes the test's service each second; returns when it was scraped.
pub(crate) async fn prometheus_of(operations: &str) -> Prometheus {
    let config = scraping(&[("flash-sale", operations)]);
    Prometheus::start(&config).await.unwrap()
}

/// The exemplars of the last minutes, with the series that they belong to.
pub(crate) async fn exemplars(prometheus: &Prometheus, series: &str) -> Vec<Value> {
    let query = [
        ("query", series.to_owned()),
        ("start", in_seconds(-600)),
        ("end", in_seconds(60)),
    ];
    let body = prometheus.get("query_exemplars", &query).await.unwrap();
    body["data"].as_array().unwrap().clone()
}
