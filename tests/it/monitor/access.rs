//! Who gets the monitor: its files and their headers, the operators' password, the bound of viewers.

use crate::{
    cli::refused_start,
    support::{
        SOON,
        crowd::Reader,
        events::Events,
        eventually,
        front::Front,
        http::Answer,
        shop::{Backend, Shop},
        when,
    },
};

use super::{operations, plan};

/// The page with everything that it loads.
const WEIGHT_MAX: usize = 150 * 1024;
const PASSWORD: &str = "correct horse";
/// `watcher:correct horse` in base64.
const RIGHT: &str = "Basic d2F0Y2hlcjpjb3JyZWN0IGhvcnNl";

/// The addresses in the attributes of a page, of its own files.
fn linked(page: &[u8]) -> Vec<String> {
    let page = String::from_utf8(page.to_vec()).unwrap();
    let attributes = page.split('"').filter(|text| text.starts_with("/monitor/"));
    let mut files: Vec<String> = attributes.map(str::to_owned).collect();
    files.sort();
    files.dedup();
    files
}

async fn get(front: &Front, path: &str) -> Answer {
    front.get(path).send().await
}

#[tokio::test]
async fn the_files_are_small_load_nothing_but_themselves_and_are_the_operators() {
    let shop = plan().open().await;
    let operations = operations(&shop);
    let page = get(&operations, "/").await;
    let mut files = linked(&page.body);
    assert!(files.len() > 8, "{files:?}");
    files.push("/monitor/uPlot-LICENSE.txt".to_owned());

    let mut weight = page.body.len();
    let mut answers = vec![("/".to_owned(), page)];
    for file in files {
        let answer = get(&operations, &file).await;
        weight += answer.body.len();
        answers.push((file, answer));
    }
    for (file, answer) in &answers {
        assert_eq!(answer.status, 200, "{file}");
        let header = |name: &str| answer.header(name).unwrap_or_default().to_owned();
        let policy = header("content-security-policy");
        assert!(
            policy.starts_with("default-src 'none';"),
            "{file}: {policy}"
        );
        for word in ["unsafe", "http", "*"] {
            assert!(!policy.contains(word), "{file}: {policy}");
        }
        assert_eq!(header("x-content-type-options"), "nosniff", "{file}");
        assert_eq!(header("referrer-policy"), "no-referrer", "{file}");
        assert_eq!(header("cache-control"), "no-cache", "{file}");
    }
    assert!(weight < WEIGHT_MAX, "{weight} bytes");

    let (_, page) = &answers[0];
    let page = String::from_utf8_lossy(&page.body);
    assert!(page.contains("name=\"crowd-token\" content=\"\""), "{page}");
    let crowd = operations.post("/monitor/crowd").send().await;
    assert!(matches!(crowd.status, 404 | 405), "{crowd:?}");
    for public in ["/", "/monitor/events", "/monitor/monitor.js"] {
        let answer = get(shop.service(), public).await;
        answer.refusal(404, "not_found");
    }
}

#[tokio::test]
async fn a_password_guards_the_pages_and_the_metrics_but_not_the_probes() {
    let shop = plan().set("OPS_PASSWORD", PASSWORD).open().await;
    let operations = operations(&shop);
    let guarded = ["/", "/monitor/events", "/monitor/monitor.js", "/metrics"];
    let wrong = [
        "Basic d2F0Y2hlcjpjb3JyZWN0",
        "Basic d2F0Y2hlcjo=",
        "Basic !",
        "Bearer correct horse",
        "Basic",
    ];
    for path in guarded {
        let stranger = get(&operations, path).await;
        stranger.refusal(401, "unauthenticated");
        let challenge = stranger.header("www-authenticate").unwrap_or_default();
        assert!(challenge.starts_with("Basic realm="), "{challenge}");
        for value in wrong {
            let call = operations.get(path).header("Authorization", value);
            call.send().await.refusal(401, "unauthenticated");
        }
        if path != "/monitor/events" {
            let call = operations.get(path).header("Authorization", RIGHT);
            assert_eq!(call.send().await.status, 200, "{path}");
        }
    }
    let events = operations.get("/monitor/events");
    let mut events = Events::open(events.header("Authorization", RIGHT)).await;
    events.until(|kind, _| kind == "snapshot", SOON).await;
    for probe in ["/health", "/health/live", "/health/ready"] {
        get(&operations, probe).await.success(200);
    }
    assert!(!shop.log().contains("horse"), "{}", shop.log());

    let refused = refused_start(&[("OPS_PASSWORD", "short")]);
    let line = String::from_utf8(refused.stderr).unwrap();
    assert!(
        !refused.status.success() && line.contains("OPS_PASSWORD"),
        "{line}"
    );
}

#[tokio::test]
async fn viewers_have_a_bound_and_one_that_reads_nothing_delays_nobody() {
    let shop = Shop::plan(Backend::Sqlite)
        .set("MONITOR_VIEWERS_MAX", "2")
        .open()
        .await;
    let operations = operations(&shop);
    let events = "/monitor/events";
    let stalled = Reader::open_narrow(&operations.url, events, Some(4_096)).await;
    let mut viewer = Events::open(operations.get(events)).await;
    let both = |kind: &str, data: &serde_json::Value| kind == "snapshot" && data["viewers"] == 2;
    viewer.until(both, SOON).await;

    let third = get(&operations, events).await;
    third.refusal(503, "stream_limit");
    third.retry_after();
    for _ in 0..3 {
        viewer.until(both, SOON).await;
    }

    drop(stalled);
    eventually("the place is free", SOON, async || {
        let call = operations.get(events).stream().await;
        when(call.status() == 200)
    })
    .await;
}
