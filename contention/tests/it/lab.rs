//! The runs' own metrics: Prometheus reads them beside the service's, and the dashboard "Contention
//! lab" shows both.

use std::{fs, path::Path, process::Stdio, time::Duration};

use serde_json::Value;
use tempfile::TempDir;
use test_support::{
    dashboards::{self, Query},
    free_port,
    prometheus::{Prometheus, scraping},
    wait::eventually,
};
use tokio::process::Child;

use crate::support::{
    runner::program,
    shop::{SECRET, Shop},
};

/// On a slow machine a run needs most of this to start its servers.
const WITHIN: Duration = Duration::from_mins(1);

/// A drop with more buyers than units, over several scrapes.
const DROP: &str = r#"name = "short-drop"
question = "Who gets the units?"
users = 150
stock = 60
[[phase]]
arrival = "rate"
rate = 50
seconds = 3
"#;

/// Its lock nodes end and come back under load, which lasts until they are used again.
const FAULTS: &str = r#"name = "short-fault"
question = "Do orders go on?"
users = 140
stock = 1_000
[[phase]]
arrival = "rate"
rate = 20
seconds = 7
[[fault]]
at_ms = 500
what = "kill_redis"
[[fault]]
at_ms = 1_500
what = "start_redis"
"#;

/// Starts a run that serves its metrics on a free port; returns their address.
fn start(folder: &Path, scenario: &str, more: &[&str]) -> (Child, String) {
    let address = format!("127.0.0.1:{}", free_port().unwrap());
    let file = folder.join(format!("{}.toml", free_port().unwrap()));
    fs::write(&file, scenario).unwrap();
    let run = program()
        .arg(file)
        .args(["--metrics-addr", &address, "--metrics-linger", "30"])
        .args(more)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    (run, address)
}

fn number(sample: &Value) -> f64 {
    sample["value"][1].as_str().unwrap().parse().unwrap()
}

/// The value of a query of one result, as the last scrape saw it.
async fn last(prometheus: &Prometheus, query: &str) -> f64 {
    let result = prometheus.query(query).await.unwrap();
    assert_eq!(result.len(), 1, "{query}: {result:?}");
    number(&result[0])
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_run_is_seen_beside_the_service_and_its_events_are_marked() {
    let shop = Shop::open().await;
    let folder = TempDir::new().unwrap();
    let target = ["--target", &shop.url, "--auth-secret", SECRET];
    let (mut sale, of_sale) = start(folder.path(), DROP, &target);
    let (mut fault, of_fault) = start(folder.path(), FAULTS, &[]);
    let jobs = [
        ("flash-sale", shop.operations.as_str()),
        ("contention-sale", &of_sale),
        ("contention-fault", &of_fault),
    ];
    let prometheus = Prometheus::start(&scraping(&jobs)).await.unwrap();

    for run in [&mut sale, &mut fault] {
        let ended = tokio::time::timeout(WITHIN, run.wait()).await;
        assert!(ended.expect("the run ends").unwrap().success());
    }

    // The last scrape saw the end, and the clients' view is the service's.
    let sold = last(&prometheus, r#"sum(last_over_time(contention_answers_total{scenario="short-drop",request="buy",outcome="created"}[5m]))"#).await;
    assert!((sold - 60.0).abs() < 1e-9, "{sold}");
    let of_service = "sum(flash_sale_order_units_total)";
    eventually("the service has sold the same", WITHIN, async || {
        let units = prometheus.query(of_service).await.ok()?;
        (units.first().map(number)? > 59.5).then_some(())
    })
    .await
    .unwrap();
    // The first burst is an increase: the counters started at 0 before the load.
    let asked = r#"sum(max_over_time(contention_requests_total{scenario="short-drop"}[5m]) - min_over_time(contention_requests_total{scenario="short-drop"}[5m]))"#;
    let asked = last(&prometheus, asked).await;
    assert!(asked > 149.5, "{asked}");
    let events = r#"count by (event) (last_over_time(contention_event_timestamp_seconds{scenario="short-fault"}[5m]))"#;
    let events = prometheus.query(events).await.unwrap();
    let mut events: Vec<_> = events
        .iter()
        .map(|event| (event["metric"]["event"].as_str().unwrap(), number(event)))
        .collect();
    events.sort_by_key(|(event, _)| *event);
    assert_eq!(events, [("end", 1.0), ("fault", 2.0), ("start", 1.0)]);

    let lab = Path::new(env!("CARGO_MANIFEST_DIR")).join("../grafana/dashboards/lab.json");
    let queries = dashboards::queries(&lab).unwrap();
    let of_run = |query: &&Query| query.text.contains("contention_");
    let of_run: Vec<_> = queries.iter().filter(of_run).collect();
    assert!(of_run.len() >= 8, "{of_run:?}");
    for Query { title, text, .. } in of_run {
        // At some moment of the runs, which have ended.
        let ever = format!("last_over_time(({text})[5m:1s])");
        let result = prometheus.query(&ever).await.unwrap();
        assert!(!result.is_empty(), "\"{title}\" has no data: {text}");
    }
}
