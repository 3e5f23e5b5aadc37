//! What `/metrics` says about the instance itself, and in which formats.

use std::{
    io::Write,
    process::{Command, Output, Stdio},
};

use nix::sys::signal::Signal;
use rstest::rstest;
use sea_orm::{ConnectionTrait, TransactionTrait};
use serde_json::{Value, json};
use test_support::metrics::Metrics;

use crate::support::{
    SOON, eventually, ledger,
    load::{Load, door},
    prometheus::{exemplars, prometheus_of},
    proxy::{Fault, Proxy},
    python,
    service::Service,
    shop::{Backend, Shop},
    when,
};

/// The output of a program that reads `text`.
fn fed(program: &mut Command, text: &str) -> Output {
    let pipes = program.stdin(Stdio::piped()).stdout(Stdio::piped());
    let child = pipes.stderr(Stdio::piped()).spawn();
    let mut child = child.expect("it is installed: run ./scripts/test");
    let mut stdin = child.stdin.take().unwrap();
    stdin.write_all(text.as_bytes()).unwrap();
    drop(stdin);
    child.wait_with_output().unwrap()
}

async fn scrape(service: &Service, accept: &str) -> (String, String) {
    let request = reqwest::Client::new().get(format!("{}/metrics", service.operations));
    let response = request.header("accept", accept).send().await.unwrap();
    assert_eq!(response.status(), 200);
    let media_type = response.headers()["content-type"].to_str().unwrap();
    (media_type.to_owned(), response.text().await.unwrap())
}

async fn show(service: &Service, name: &str, labels: &[(&str, &str)], wanted: u32) {
    let what = format!("{name} {labels:?} is {wanted}");
    eventually(&what, SOON, async || {
        when(service.metrics().await.shows(name, labels, wanted))
    })
    .await;
}

/// A shop whose service has made an order of each kind, a place and a payment that was refused.
async fn busy_shop() -> Shop {
    let shop = Shop::open(Backend::Postgres).await;
    let service = shop.service();
    let terms = json!({ "sku": "odd \"name\" \\ here", "waitlist": true });
    let product = service.product(2, terms).await;
    service.buy("ann", product, 2).await.success(201);
    service
        .buy("bob", product, 1)
        .await
        .refusal(409, "sold_out");
    service.join("carl", product, 1).await;
    service.restock(product, 1).await.success(200);
    eventually("the process metrics were read", SOON, async || {
        let metrics = service.metrics().await;
        let read = metrics.value("process_resident_memory_bytes", &[]);
        read.and(metrics.value("tokio_parks_total", &[]))
    })
    .await;
    shop
}

#[tokio::test]
async fn promtool_finds_no_fault_in_the_metrics() {
    let shop = busy_shop().await;

    let (media_type, text) = scrape(shop.service(), "text/plain").await;

    assert!(media_type.starts_with("text/plain; version=0.0.4"));
    let output = fed(Command::new("promtool").args(["check", "metrics"]), &text);
    assert!(output.status.success(), "{output:?}");
    assert_eq!(String::from_utf8_lossy(&output.stderr), "");
}

/// Prints the type and the unit of each family, and the bucket of each exemplar.
const PARSER: &str = "
import json, sys
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse
families, exemplars = {}, {}
for family in parse(sys.stdin.read()):
    families[family.name] = [family.type, family.unit]
    for sample in family.samples:
        if sample.exemplar:
            assert sample.exemplar.value <= float(sample.labels['le'])
            exemplars[sample.exemplar.labels['request_id']] = sample.labels
print(json.dumps([families, exemplars]))
";

/// By the reference parser, which is strict, and by a Prometheus, which asks for it by itself.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn scrapers_get_open_metrics_and_the_request_behind_a_bucket() {
    let shop = busy_shop().await;
    let service = shop.service();
    let traced = service.get("/products?limit=1");
    traced
        .header("x-request-id", "trace-7")
        .send()
        .await
        .success(200);
    let unfit = service.get("/me/events");
    unfit.header("x-request-id", "\"},{").send().await.problem();

    let (media_type, text) = scrape(service, "application/openmetrics-text").await;

    assert!(media_type.starts_with("application/openmetrics-text; version=1.0.0"));
    let parser = &mut python::command("prometheus-client", "python");
    let output = fed(parser.args(["-c", PARSER]), &text);
    assert!(output.status.success(), "{output:?}");
    let parsed: Value = serde_json::from_slice(&output.stdout).unwrap();
    for (family, described) in [
        ("flash_sale_orders", json!(["counter", ""])),
        ("process_cpu_seconds", json!(["counter", "seconds"])),
        ("process_resident_memory_bytes", json!(["gauge", "bytes"])),
        (
            "flash_sale_lock_wait_seconds",
            json!(["histogram", "seconds"]),
        ),
        ("flash_sale_batch_orders", json!(["histogram", ""])),
    ] {
        assert_eq!(parsed[0][family], described, "{family}");
    }
    let bucket = &parsed[1]["trace-7"];
    assert_eq!(bucket["route"], "/products", "{parsed}");
    assert!(!text.contains("},{"), "an id that would need an escape");

    let prometheus = prometheus_of(&service.operations).await;
    let stored = eventually("Prometheus has the exemplar", SOON, async || {
        let series = "flash_sale_http_request_duration_seconds_bucket";
        let found = exemplars(&prometheus, series).await;
        let is_it = |one: &Value| one["exemplars"][0]["labels"]["request_id"] == "trace-7";
        found.into_iter().find(is_it)
    })
    .await;
    assert_eq!(stored["seriesLabels"]["route"], "/products");
    let converted = "flash_sale_http_request_duration_seconds_bucket{le=\"1.0\"}";
    assert!(!prometheus.query(converted).await.unwrap().is_empty());
}

/// A counter that appears with its first event has no increase then.
#[tokio::test]
async fn every_answer_that_the_document_names_is_counted_from_zero() {
    let shop = Shop::open(Backend::Sqlite).await;

    let metrics = shop.service().metrics().await;

    for (method, route, status) in [
        ("POST", "/orders", "201"),
        ("POST", "/orders", "400"),
        ("POST", "/orders", "409"),
        ("POST", "/orders", "503"),
        ("GET", "/products/{id}", "200"),
        ("POST", "/orders/{id}/confirm", "503"),
    ] {
        let labels = [("method", method), ("route", route), ("status", status)];
        let requests = metrics.value("flash_sale_http_requests_total", &labels);
        assert_eq!(requests, Some(0.0), "{labels:?}");
        let name = "flash_sale_http_request_duration_seconds_bucket";
        let durations = metrics.value(name, &[("method", method), ("route", route)]);
        assert_eq!(durations, Some(0.0), "{labels:?}");
    }
}

#[tokio::test]
async fn metrics_describe_the_instance() {
    let shop = Shop::plan(Backend::Postgres)
        .set("LANE_QUEUE_MAX", "300")
        .open()
        .await;
    let service = shop.service();
    let product = service.product(2, json!({ "sku": "brief" })).await;
    service.buy("ann", product, 1).await.success(201);
    show(service, "flash_sale_db_pool_connections_max", &[], 20).await;
    let sold_out = |metrics: &Metrics| {
        let labels = [("product", "brief")];
        metrics.value("flash_sale_sold_out_seconds", &labels)
    };
    assert_eq!(sold_out(&service.metrics().await), None, "a unit is left");

    service.buy("bob", product, 1).await.success(201);

    let metrics = service.metrics().await;
    let took = sold_out(&metrics).unwrap();
    assert!((0.0..60.0).contains(&took), "{took} s");
    let version = [("version", env!("CARGO_PKG_VERSION"))];
    for (name, labels, value) in [
        ("flash_sale_build_info", &version[..], 1),
        ("flash_sale_lane_queue_max", &[], 300),
        ("flash_sale_batch_orders_max", &[], 1_024),
        ("flash_sale_request_timeout_seconds", &[], 5),
        ("flash_sale_lock_ttl_seconds", &[], 2),
        ("flash_sale_rate_limit_per_minute", &[], 1_000),
        ("flash_sale_verify_interval_seconds", &[], 300),
        ("flash_sale_schema_migrations", &[("state", "pending")], 0),
        ("flash_sale_schema_migrations", &[("state", "newer")], 0),
        (
            "flash_sale_db_pool_connections_max",
            &[("pool", "write")],
            10,
        ),
        ("flash_sale_db_pool_connections_max", &[("pool", "read")], 6),
        (
            "flash_sale_db_pool_connections_max",
            &[("pool", "payments")],
            4,
        ),
        (
            "flash_sale_audit_entries_total",
            &[("action", "product.create")],
            1,
        ),
        (
            "flash_sale_audit_entries_total",
            &[("action", "order.cancel")],
            0,
        ),
    ] {
        let found = metrics.value(name, labels);
        assert!(
            metrics.shows(name, labels, value),
            "{name} {labels:?}: {found:?}"
        );
    }
    let applied = [("state", "applied")];
    let applied = metrics.value("flash_sale_schema_migrations", &applied);
    assert!(applied.unwrap() >= 13.0, "{applied:?}");
}

/// Without the probes of a load balancer, and with a Redis that accepts connections and
/// does not answer.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn readiness_and_redis_are_shown_as_they_change() {
    let database = crate::support::postgres::Database::create().await;
    let proxy = Proxy::before(&database.url()).await;
    let shop = Shop::plan(Backend::Postgres)
        .database(&proxy.url(&database.url()), &database.url())
        .set("SHUTDOWN_DELAY_MS", "60000")
        .open()
        .await;
    let service = shop.service();
    show(service, "flash_sale_ready", &[], 1).await;
    show(service, "flash_sale_redis_up", &[], 1).await;

    shop.redis().0[0].pause();
    show(service, "flash_sale_redis_up", &[], 0).await;
    show(service, "flash_sale_ready", &[], 1).await;
    shop.redis().0[0].resume();
    show(service, "flash_sale_redis_up", &[], 1).await;

    proxy.set(Fault::Down);
    show(service, "flash_sale_ready", &[], 0).await;
    proxy.set(Fault::None);
    show(service, "flash_sale_ready", &[], 1).await;

    service.process.signal(Signal::SIGTERM).unwrap();
    show(service, "flash_sale_ready", &[], 0).await;
    assert_eq!(service.get("/health/ready").send().await.status, 503);
}

#[rstest]
#[case::sqlite(Backend::Sqlite)]
#[case::postgres(Backend::Postgres)]
#[tokio::test]
async fn the_scheduled_check_finds_an_oversold_product_and_its_end(#[case] backend: Backend) {
    let shop = Shop::plan(backend).set("VERIFY_SECONDS", "1").open().await;
    let service = shop.service();
    let product = service.product(10, json!({ "sku": "broken" })).await;
    service.buy("ann", product, 2).await.success(201);
    let completed = [("result", "completed")];
    eventually("a check has found nothing", SOON, async || {
        let metrics = service.metrics().await;
        let runs = metrics.value("flash_sale_verify_runs_total", &completed);
        let at = metrics.value("flash_sale_verify_last_run_timestamp_seconds", &[]);
        when(runs? >= 1.0 && at? > 1.7e9 && metrics.shows("flash_sale_verify_problems", &[], 0))
    })
    .await;

    let change =
        |units: &str| format!("UPDATE products SET stock = stock {units} WHERE sku = 'broken'");
    shop.ledger.execute(&change("+ 1")).await;

    let check = [("check", "conservation")];
    show(service, "flash_sale_verify_problems", &check, 1).await;
    show(service, "flash_sale_verify_problems", &[], 1).await;
    assert!(
        shop.log().contains("broken: stock_total 10, stock 9"),
        "{}",
        shop.log()
    );
    shop.ledger.execute(&change("- 1")).await;
    show(service, "flash_sale_verify_problems", &[], 0).await;
}

/// With one connection for reads, all reads would wait for the checks.
#[rstest]
#[case::if_they_are_off("VERIFY_SECONDS", "0")]
#[case::with_one_connection_for_reads("DATABASE_POOL_MAX", "2")]
#[tokio::test]
async fn no_check_is_scheduled(#[case] setting: &str, #[case] value: &str) {
    let shop = Shop::plan(Backend::Sqlite).set(setting, value).open().await;
    show(shop.service(), "flash_sale_ready", &[], 1).await;

    let metrics = shop.service().metrics().await;

    assert!(metrics.shows("flash_sale_verify_interval_seconds", &[], 0));
    assert!(!metrics.names().contains(&"flash_sale_verify_problems"));
}

/// Here by a table that somebody has locked; the checks never wait for long, and sales go on beside
/// them.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_check_that_fails_is_counted_and_costs_no_order() {
    let shop = Shop::plan(Backend::Postgres)
        .set("VERIFY_SECONDS", "1")
        .open()
        .await;
    let service = shop.service();
    let product = service.product(1_000_000, json!({})).await;
    let load = Load::start(&[door(service.front())], product, 4);
    let other = ledger::connect(&shop.database_url).await;
    let transaction = other.begin().await.unwrap();
    let lock = "LOCK TABLE stray_payments IN ACCESS EXCLUSIVE MODE";
    transaction.execute_unprepared(lock).await.unwrap();

    let failed = [("result", "failed")];
    eventually("checks have failed", SOON, async || {
        let metrics = service.metrics().await;
        when(metrics.value("flash_sale_verify_runs_total", &failed)? >= 2.0)
    })
    .await;
    let metrics = service.metrics().await;
    assert!(metrics.shows("flash_sale_verify_last_run_timestamp_seconds", &[], 0));
    assert!(metrics.shows("flash_sale_db_connections_revoked_total", &[], 0));
    load.sells(50).await;
    transaction.rollback().await.unwrap();

    let completed = [("result", "completed")];
    eventually("a check was completed", SOON, async || {
        let metrics = service.metrics().await;
        when(metrics.value("flash_sale_verify_runs_total", &completed)? >= 1.0)
    })
    .await;
    let told = load.finish().await;
    assert!(told.refusals.is_empty(), "{:?}", told.refusals);
}
