//! Who gets the monitor: its files and their headers, the operators' password, the bound of viewers.

use futures::future::join_all;

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
        assert_guarded(file, answer);
        let header = |name: &str| answer.header(name).unwrap_or_default().to_owned();
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
            // A proxy in front passes its own name on.
            let call = call.header("Host", "monitor.shop.example");
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

/// A page of a name that leads to this machine (DNS rebinding) would read what an operator can.
#[tokio::test]
async fn without_a_password_a_strangers_name_opens_no_page() {
    let shop = plan().flag("--demo").open().await;
    let operations = operations(&shop);
    let port = operations.url.rsplit(':').next().unwrap();
    let at = |path: &str, name: &str| {
        let call = operations.get(path);
        call.header("Host", format!("{name}:{port}"))
    };
    for path in ["/", "/monitor/monitor.js", "/monitor/events", "/metrics"] {
        let call = at(path, "evil.example").header("Accept", "text/html,*/*;q=0.8");
        let refused = call.send().await;
        let problem = refused.refusal(403, "forbidden");
        let detail = problem["detail"].to_string();
        assert!(detail.contains("OPS_PASSWORD"), "{detail}");
        assert_guarded(path, &refused);
    }
    // What starts a crowd is in the page.
    let page = String::from_utf8(get(&operations, "/").await.body).unwrap();
    let (_, token) = page.split_once("name=\"crowd-token\" content=\"").unwrap();
    let (token, _) = token.split_once('"').unwrap();
    let crowd = operations.post("/monitor/crowd");
    let crowd = crowd.header("Host", "evil.example");
    let crowd = crowd.header("Origin", "http://evil.example");
    let crowd = crowd.header("X-Crowd-Token", token);
    let crowd = crowd.json(&serde_json::json!({})).send().await;
    crowd.refusal(403, "forbidden");
    for name in ["localhost", "127.0.0.1", "node-1"] {
        assert_eq!(at("/metrics", name).send().await.status, 200, "{name}");
    }
    let probe = at("/health/ready", "evil.example").send().await;
    probe.success(200);
}

/// What a browser shows allows no script but the page's own, whatever is in it.
#[tokio::test]
async fn pages_and_errors_have_a_strict_policy_on_both_listeners() {
    let shop = plan().open().await;
    let (service, operations) = (shop.service().front(), operations(&shop));
    let page = async |front: &Front, path: &str| {
        let call = front.get(path).header("Accept", "text/html,*/*;q=0.8");
        assert_guarded(path, &call.send().await);
    };
    for path in [
        "/docs",
        "/docs/index.html",
        "/docs/swagger-ui-bundle.js",
        "/openapi.json",
        "/products",
        "/products?unknown=1",
        "/orders",
        "/<script>",
    ] {
        page(&service, path).await;
    }
    for path in ["/", "/metrics", "/health", "/monitor/<script>"] {
        page(&operations, path).await;
    }
}

#[track_caller]
fn assert_guarded(path: &str, answer: &Answer) {
    let header = |name: &str| answer.header(name).unwrap_or_default();
    let policy = header("content-security-policy");
    assert!(
        policy.starts_with("default-src 'none';"),
        "{path}: {policy}"
    );
    assert!(
        policy.contains("frame-ancestors 'none'"),
        "{path}: {policy}"
    );
    for word in ["unsafe", "http", "*"] {
        assert!(!policy.contains(word), "{path}: {policy}");
    }
    assert_eq!(header("x-content-type-options"), "nosniff", "{path}");
}

#[tokio::test]
async fn an_address_that_guesses_is_refused_with_the_right_password_too() {
    let shop = plan()
        .set("OPS_PASSWORD", PASSWORD)
        .set("TRUSTED_PROXIES", "127.0.0.1")
        .open()
        .await;
    let operations = operations(&shop);
    let sends = async |address: &str, value: &str| {
        let call = operations.get("/metrics").header("Authorization", value);
        let answer = call.header("X-Forwarded-For", address).send().await;
        answer.status
    };
    let (guesser, operator) = ("198.51.100.1", "198.51.100.2");
    // A slow machine refills the bucket between two requests.
    eventually("the right password is refused", SOON, async || {
        let wrong = (0..40).map(|_| sends(guesser, "Basic d2F0Y2hlcjpndWVzcw=="));
        let answers = join_all(wrong).await;
        assert!(answers.iter().all(|status| matches!(status, 401 | 429)));
        when(sends(guesser, RIGHT).await == 429)
    })
    .await;
    assert_eq!(sends(operator, RIGHT).await, 200);
    // A browser's first request has none: that is no guess.
    for _ in 0..40 {
        let call = operations.get("/metrics");
        let call = call.header("X-Forwarded-For", operator);
        call.send().await.refusal(401, "unauthenticated");
    }
    assert_eq!(sends(operator, RIGHT).await, 200);
}
