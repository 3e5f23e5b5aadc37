//! The access log, and the ids of a request in the log and in problem documents.

use std::{fs, io::Read, os::unix::fs::OpenOptionsExt, process::Command};

use nix::libc::O_NONBLOCK;
use rstest::rstest;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::support::{
    SOON,
    events::Events,
    eventually,
    gateway::{Fault, Gateway},
    service::{Service, Settings},
    shop::{Backend, Shop},
    tokens,
};

const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";
const TRACEPARENT: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

/// The objects of a log in JSON.
fn objects(shop: &Shop) -> Vec<Value> {
    let log = shop.log();
    let object =
        |line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"));
    log.lines().map(object).collect()
}

/// The line of the access log for this request, once it is there.
async fn access(shop: &Shop, request: &str) -> Value {
    eventually("the access log has the request", SOON, async || {
        let is_it = |line: &Value| line["target"] == "access" && line["request_id"] == request;
        objects(shop).into_iter().find(is_it)
    })
    .await
}

/// The same request by its `X-Request-Id` and its trace everywhere.
#[tokio::test]
async fn a_request_is_found_in_the_log_by_its_ids() {
    let plan = Shop::plan(Backend::Sqlite).set("ACCESS_LOG", "1");
    let shop = plan.set("LOG_FORMAT", "json").open().await;
    let product = shop.service().product(1, json!({})).await;
    let order = |id: &str| {
        let order = shop
            .service()
            .order("ann", product, 1)
            .header("x-request-id", id);
        order.header("traceparent", TRACEPARENT)
    };

    order("first").send().await.success(201);
    let problem = order("second").send().await.refusal(409, "sold_out");

    let sold = access(&shop, "first").await;
    let fields = &sold["fields"];
    assert_eq!(
        (&fields["method"], &fields["route"]),
        (&json!("POST"), &json!("/orders"))
    );
    assert_eq!(
        (&fields["status"], &fields["code"]),
        (&json!(201), &Value::Null)
    );
    assert!(
        fields["duration_ms"]
            .as_f64()
            .is_some_and(|took| took > 0.0),
        "{sold}"
    );
    assert!(
        fields["bytes"].as_u64().is_some_and(|bytes| bytes > 100),
        "{sold}"
    );
    let refused = access(&shop, "second").await;
    assert_eq!(
        (&refused["fields"]["status"], &refused["fields"]["code"]),
        (&json!(409), &json!("sold_out"))
    );
    assert_eq!(problem["request_id"], "second");
    assert_eq!(problem["traceparent"], refused["traceparent"]);
    // The caller's trace goes on with spans of the service's own; nothing records them.
    let spans = [&sold, &refused].map(|line| line["traceparent"].as_str().unwrap().to_owned());
    for span in &spans {
        assert!(
            span.starts_with(&format!("00-{TRACE}-")) && span.ends_with("-00"),
            "{span}"
        );
        assert!(!span.contains("b7ad6b7169203331"), "{span}");
    }
    assert_ne!(spans[0], spans[1]);
}

/// Neither a query nor a token nor a user is in the log, and no line of the operators' listener.
#[tokio::test]
async fn the_access_log_holds_no_secret() {
    let plan = Shop::plan(Backend::Sqlite).set("ACCESS_LOG", "1");
    let shop = plan.set("LOG_FORMAT", "json").open().await;
    shop.service().metrics().await;
    let list = shop.service().get("/orders").query(&[("limit", "7")]);
    let list = list.bearer(&tokens::user("zebedee")).send().await;
    list.success(200);

    // The id that the service made, and a trace of its own.
    let listed = access(&shop, list.header("x-request-id").unwrap()).await;
    assert_eq!(listed["fields"]["path"], "/orders");
    let own = listed["traceparent"].as_str().unwrap();
    assert!(own.len() == 55 && !own.contains(TRACE), "{own}");
    let log = shop.log();
    for secret in ["limit=7", "zebedee", tokens::user("zebedee").as_str()] {
        assert!(!log.contains(secret), "{secret} is in {log}");
    }
    assert!(
        objects(&shop)
            .iter()
            .all(|line| line["fields"]["route"] != "/metrics")
    );
}

/// Whatever the share, also in a task of its own that outlives the request.
#[rstest]
#[case::text("text")]
#[case::json("json")]
#[tokio::test]
async fn failures_are_in_every_access_log(#[case] format: &str) {
    let gateway = Gateway::start().await;
    let plan = Shop::plan(Backend::Sqlite).paying(&gateway);
    let plan = plan.set("LOG_FORMAT", format).set("ACCESS_LOG", "1e-12");
    let shop = plan.open().await;
    let product = shop
        .service()
        .product(1, json!({ "hold_seconds": 600 }))
        .await;
    let order = shop.service().buy("ann", product, 1).await.success(201);
    let order = order["id"].as_str().unwrap().parse().unwrap();
    gateway.set(Fault::Status(500)).await;

    let confirm = shop.service().pay("ann", order, "pm_card_visa");
    let confirm = confirm.header("x-request-id", "the-\"call\"");
    let answer = confirm.header("traceparent", TRACEPARENT).send().await;

    assert_eq!(answer.status, 503, "{answer:?}");
    let problem = answer.problem();
    assert_eq!(problem["request_id"], "the-\"call\"");
    let traceparent = problem["traceparent"].as_str().unwrap();
    let lines = eventually("the answer is in the log", SOON, async || {
        let log = shop.log();
        let lines: Vec<_> = log
            .lines()
            .filter(|line| line.contains(traceparent))
            .collect();
        let lines: Vec<_> = lines.into_iter().map(str::to_owned).collect();
        (lines.len() >= 2).then_some(lines)
    })
    .await;
    // The gateway's failure and the answer.
    assert!(
        lines[0].contains("WARN") && lines[0].contains("charge of order"),
        "{lines:?}"
    );
    assert!(
        lines[1].contains("503") && lines[1].contains("access"),
        "{lines:?}"
    );
    let named = "request_id=\"the-\\\"call\\\"\"";
    let named = if format == "text" {
        named.to_owned()
    } else {
        named.replace("request_id=", "\"request_id\":")
    };
    assert!(lines.iter().all(|line| line.contains(&named)), "{lines:?}");
    let access = shop
        .log()
        .lines()
        .filter(|line| line.contains("access"))
        .count();
    assert_eq!(access, 1, "{}", shop.log());
}

/// Also those that are logged while its stream is open.
#[tokio::test]
async fn the_lines_of_a_stream_name_its_request() {
    let plan = Shop::plan(Backend::Sqlite).set("LOG_FORMAT", "json");
    let shop = plan.set("RUST_LOG", "flash_sale=debug").open().await;
    let follow = shop
        .service()
        .get("/me/events")
        .bearer(&tokens::user("ann"));
    let follow = follow.header("x-request-id", "the-stream");
    let mut stream = Events::open(follow.header("traceparent", TRACEPARENT)).await;
    stream.frame(SOON).await;

    let rename = "ALTER TABLE orders RENAME TO gone";
    shop.ledger.execute(rename).await;
    let line = eventually("the stream cannot read", SOON, async || {
        let is_it = |line: &Value| {
            let text = line["fields"]["message"].as_str();
            text.is_some_and(|text| text.contains("cannot read a user's orders"))
        };
        objects(&shop).into_iter().find(is_it)
    })
    .await;

    assert_eq!(line["request_id"], "the-stream", "{line}");
    let traceparent = line["traceparent"].as_str().unwrap_or_default();
    assert!(traceparent.contains(TRACE), "{line}");
}

/// More lines than a pipe takes, with paths of a length that the log shows whole.
const UNREAD: usize = 1_000;

/// As of a container whose log driver is stuck.
#[tokio::test]
async fn a_log_that_nobody_reads_delays_no_request() {
    let directory = TempDir::new().unwrap();
    let pipe = directory.path().join("log");
    assert!(
        Command::new("mkfifo")
            .arg(&pipe)
            .status()
            .unwrap()
            .success()
    );
    let mut open = fs::File::options();
    open.read(true).write(true).custom_flags(O_NONBLOCK);
    let mut reader = open.open(&pipe).unwrap();
    let mut settings = Settings::default();
    settings.set("ACCESS_LOG", "1");
    settings.set("AUTH_SECRET", tokens::SECRET);
    let data = directory.path().join("data").display().to_string();
    settings.set("DATA_DIR", &data);
    let client = test_support::http::client().unwrap();
    let mut service = Service::start(&settings, &pipe, client).await;

    let long = "x".repeat(150);
    for number in 0..UNREAD {
        let call = service.get(&format!("/{long}/{number}"));
        call.send().await.refusal(404, "not_found");
    }
    service.metrics().await;
    assert!(service.stop().await.success());

    let mut text = Vec::new();
    // Ends with `WouldBlock`: this test could write too.
    assert!(reader.read_to_end(&mut text).is_err());
    let text = String::from_utf8(text).unwrap();
    assert!(text.len() > 10_000, "{}", text.len());
    let access = text.lines().filter(|line| line.contains("access"));
    for (number, line) in access.enumerate() {
        assert!(line.contains(&format!("/{number}\"")), "{line}");
    }
}
