//! `/health` of a healthy service, and the metrics that the service exports.

use rstest::rstest;
use serde_json::json;
use test_support::metrics::Metrics;

use crate::support::{
    SOON, eventually,
    service::Service,
    shop::{Backend, Shop},
    when,
};

/// The metrics of the contract that this version of the service exports.
const METRICS: &[&str] = &[
    "flash_sale_lock_acquire_total",
    "flash_sale_lock_wait_seconds_bucket",
    "flash_sale_lock_hold_seconds_bucket",
    "flash_sale_lock_lost_total",
    "flash_sale_lock_nodes_healthy",
    "flash_sale_lock_degraded",
    "flash_sale_fence_rejected_total",
    "flash_sale_orders_total",
    "flash_sale_order_units_total",
    "flash_sale_order_duration_seconds_bucket",
    "flash_sale_batch_orders_bucket",
    "flash_sale_lane_queue",
    "flash_sale_stock",
    "flash_sale_rate_limited_total",
    "flash_sale_confirmations_refused_total",
    "flash_sale_webhooks_total",
    "flash_sale_http_requests_total",
    "flash_sale_http_request_duration_seconds_bucket",
    "flash_sale_http_in_flight",
    "flash_sale_db_pool_connections",
    "process_open_fds",
    "tokio_busy_ratio",
    "tokio_parks_total",
    "flash_sale_build_info",
    "flash_sale_schema_migrations",
    "flash_sale_audit_entries_total",
    "flash_sale_db_pool_connections_max",
    "flash_sale_lane_queue_longest",
    "flash_sale_lane_queue_max",
    "flash_sale_ready",
    "flash_sale_redis_up",
    "flash_sale_request_timeout_seconds",
    "flash_sale_verify_problems",
    "flash_sale_trace_spans_total",
    "flash_sale_log_lines_dropped_total",
];

#[rstest]
#[case::sqlite(Backend::Sqlite)]
#[case::postgres(Backend::Postgres)]
#[tokio::test]
async fn health_reports_each_component(#[case] backend: Backend) {
    let shop = Shop::open(backend).await;
    let service = shop.service();

    eventually("all components are up", SOON, async || {
        let (status, body) = service.health().await;
        assert_eq!(status, 200, "{body}");
        let components = [&body["status"], &body["database"], &body["redis"]];
        when(components.iter().all(|component| **component == "up"))
    })
    .await;
    for path in ["/health/live", "/health/ready"] {
        assert_eq!(service.get(path).send().await.status, 200, "{path}");
    }
    let operations = format!("{}/health", service.operations);
    let body: serde_json::Value = shop
        .client
        .get(operations)
        .send()
        .await
        .unwrap()
        .json()
        .await
        .unwrap();
    assert_eq!(body["status"], "up");
}

#[tokio::test]
async fn health_shows_no_secret() {
    let shop = Shop::open(Backend::Postgres).await;

    let body = shop.service().health().await.1.to_string();

    assert!(!body.contains(crate::support::tokens::SECRET), "{body}");
    assert!(
        !body.contains("postgres://") && !body.contains("redis://"),
        "{body}"
    );
}

/// The counters of a product start at 0, so that its first event is an increase.
#[rstest]
#[case::sqlite(Backend::Sqlite)]
#[case::postgres(Backend::Postgres)]
#[tokio::test]
async fn every_metric_is_exported_after_one_order(#[case] backend: Backend) {
    let shop = Shop::open(backend).await;
    let service = shop.service();
    let product = service.product(5, json!({ "sku": "seen" })).await;

    service.buy("ann", product, 1).await.success(201);

    let metrics = eventually(
        "the lock was released, the process metrics were read",
        SOON,
        async || {
            let metrics = service.metrics().await;
            let held = metrics.value("flash_sale_lock_hold_seconds_count", &[("product", "seen")]);
            metrics.value("process_resident_memory_bytes", &[])?;
            (held? >= 1.0).then_some(metrics)
        },
    )
    .await;
    for name in METRICS {
        assert!(metrics.names().contains(name), "{name} is missing");
    }
    for outcome in ["busy", "no_quorum", "error"] {
        let labels = [("product", "seen"), ("outcome", outcome)];
        assert_eq!(
            metrics.value("flash_sale_lock_acquire_total", &labels),
            Some(0.0),
            "{outcome}"
        );
    }
    assert_eq!(
        metrics.value("flash_sale_fence_rejected_total", &[("product", "seen")]),
        Some(0.0)
    );
}

/// The list of the contract, spelled out: it must not come from the code under test.
#[tokio::test]
async fn every_outcome_of_an_order_starts_at_zero() {
    let shop = Shop::open(Backend::Sqlite).await;

    let metrics = shop.service().metrics().await;

    for outcome in [
        "created",
        "replayed",
        "waitlisted",
        "payload_too_large",
        "unsupported_media_type",
        "unauthenticated",
        "request_timeout",
        "malformed_json",
        "invalid_request",
        "rate_limited",
        "product_not_found",
        "not_on_sale",
        "idempotency_key_reused",
        "purchase_limit",
        "sold_out",
        "insufficient_stock",
        "high_demand",
        "unavailable",
        "outcome_unknown",
        "internal",
    ] {
        let labels = [("product", "unknown"), ("outcome", outcome)];
        let count = metrics.value("flash_sale_orders_total", &labels);
        assert_eq!(count, Some(0.0), "{outcome}");
    }
}

#[rstest]
#[case::sqlite(Backend::Sqlite)]
#[case::postgres(Backend::Postgres)]
#[tokio::test]
async fn metrics_count_orders_and_refusals(#[case] backend: Backend) {
    let shop = Shop::open(backend).await;
    let service = shop.service();
    let product = service
        .product(7, json!({ "sku": "counted", "max_per_user": 6 }))
        .await;
    service
        .order("ann", product, 2)
        .key("k")
        .send()
        .await
        .success(201);
    service
        .order("ann", product, 2)
        .key("k")
        .send()
        .await
        .success(201);
    service.buy("bob", product, 3).await.success(201);
    service
        .buy("ann", product, 5)
        .await
        .refusal(409, "purchase_limit");
    service
        .buy("bob", product, 3)
        .await
        .refusal(409, "insufficient_stock");
    service.buy("carl", product, 2).await.success(201);
    service
        .buy("dora", product, 1)
        .await
        .refusal(409, "sold_out");

    let metrics = updated_metrics(service).await;

    for (outcome, count) in [
        ("created", 3.0),
        ("replayed", 1.0),
        ("purchase_limit", 1.0),
        ("insufficient_stock", 1.0),
        ("sold_out", 1.0),
        ("high_demand", 0.0),
    ] {
        let labels = [("product", "counted"), ("outcome", outcome)];
        assert_eq!(
            metrics.value("flash_sale_orders_total", &labels),
            Some(count),
            "{outcome}"
        );
    }
    let counted = |name: &str| metrics.value(name, &[("product", "counted")]);
    assert_eq!(counted("flash_sale_order_units_total"), Some(7.0));
    assert_eq!(counted("flash_sale_stock"), Some(0.0));
    assert_eq!(counted("flash_sale_lane_queue"), Some(0.0));
    assert_eq!(
        metrics.value("flash_sale_lock_nodes_healthy", &[]),
        Some(3.0)
    );
    assert_eq!(metrics.value("flash_sale_lock_degraded", &[]), Some(0.0));
    let requests = metrics.value(
        "flash_sale_http_requests_total",
        &[("method", "POST"), ("route", "/orders"), ("status", "201")],
    );
    assert_eq!(requests, Some(4.0));
}

/// Some gauges are updated shortly after the response.
async fn updated_metrics(service: &Service) -> Metrics {
    eventually("the gauges are updated", SOON, async || {
        let metrics = service.metrics().await;
        let counted = [("product", "counted")];
        let updated = metrics.shows("flash_sale_stock", &counted, 0)
            && metrics.shows("flash_sale_lane_queue", &counted, 0)
            && metrics.shows("flash_sale_lock_nodes_healthy", &[], 3);
        updated.then_some(metrics)
    })
    .await
}

/// A label per path or id would let an attacker create any number of series.
#[tokio::test]
async fn metric_labels_are_routes_not_paths() {
    let shop = Shop::open(Backend::Sqlite).await;
    let service = shop.service();
    let product = service.product(5, json!({})).await;
    let before = service.metrics().await.names().len();

    for number in 0..50 {
        service
            .get(&format!("/nothing/{number}"))
            .send()
            .await
            .problem();
        service
            .get(&format!("/products/{}", uuid::Uuid::now_v7()))
            .send()
            .await
            .problem();
        service
            .buy("ann", uuid::Uuid::now_v7(), 1)
            .await
            .refusal(404, "product_not_found");
    }
    service
        .get(&format!("/products/{product}"))
        .send()
        .await
        .success(200);

    let metrics = service.metrics().await;
    let route = [("route", "/products/{id}"), ("status", "200")];
    assert_eq!(
        metrics.value("flash_sale_http_requests_total", &route),
        Some(1.0)
    );
    let grown = metrics.names().len() - before;
    assert!(grown < 120, "{grown} new series");
}
