//! HTTP transport and log: incomplete and invalid requests, CORS, log format, secrets.

use std::time::{Duration, Instant};

use reqwest::Method;
use rstest::rstest;
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::timeout,
};

use crate::support::{
    front::Front,
    http::{Answer, Call},
    shop::{Backend, Shop},
    tokens,
};

/// The default `REQUEST_TIMEOUT_MS` and a margin for a busy machine.
const ANSWERED_WITHIN: Duration = Duration::from_millis(5_700);

/// A body that never ends must not hold its request for ever.
#[tokio::test]
async fn an_incomplete_body_is_answered_in_time() {
    let plan = Shop::plan(Backend::Sqlite);
    let shop = plan.set("REQUEST_TIMEOUT_MS", "4000").open().await;
    let address = shop.service().url.strip_prefix("http://").unwrap();
    let mut stream = TcpStream::connect(address).await.unwrap();
    let begun = Instant::now();

    let head = format!(
        "POST /orders HTTP/1.1\r\nHost: shop\r\nContent-Type: application/json\r\n\
         Authorization: Bearer {}\r\nContent-Length: 100\r\n\r\n{{\"product_id\":",
        tokens::user("ann")
    );
    stream.write_all(head.as_bytes()).await.unwrap();
    let mut answer = vec![0; 1024];
    let read = timeout(ANSWERED_WITHIN * 2, stream.read(&mut answer))
        .await
        .unwrap()
        .unwrap();

    assert!(begun.elapsed() < ANSWERED_WITHIN, "{:?}", begun.elapsed());
    let answer = String::from_utf8_lossy(&answer[..read]).to_lowercase();
    assert!(
        answer.starts_with("http/1.1 4") || answer.starts_with("http/1.1 503"),
        "{answer}"
    );
    assert!(
        answer.contains("x-request-id") && answer.contains("problem+json"),
        "{answer}"
    );
}

/// Bytes that are not HTTP end only their own connection.
#[tokio::test]
async fn invalid_http_ends_only_its_own_connection() {
    let shop = Shop::open(Backend::Sqlite).await;
    let product = shop.service().product(5, json!({})).await;
    let address = shop.service().url.strip_prefix("http://").unwrap();

    for bytes in [
        &b"\x16\x03\x01\x02\x00\x01"[..],
        b"GET\r\n\r\n",
        &[0; 4096],
        b"POST / HTTP/9.9\r\n\r\n",
    ] {
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream.write_all(bytes).await.unwrap();
        stream.shutdown().await.unwrap();
        let mut answer = Vec::new();
        let ended = timeout(ANSWERED_WITHIN, stream.read_to_end(&mut answer)).await;
        assert!(ended.is_ok(), "the connection stays open after {bytes:?}");
    }

    shop.service().buy("ann", product, 1).await.success(201);
}

async fn preflight(front: &Front, origin: &str) -> Answer {
    let call = front
        .call(Method::OPTIONS, "/orders")
        .header("origin", origin);
    let call = call.header("access-control-request-method", "POST");
    call.header(
        "access-control-request-headers",
        "authorization,content-type,idempotency-key",
    )
    .send()
    .await
}

fn allowed(answer: &Answer) -> Option<&str> {
    answer.header("access-control-allow-origin")
}

#[tokio::test]
async fn only_configured_origins_may_call_from_a_page() {
    let ours = "https://shop.example";
    let shop = Shop::plan(Backend::Sqlite)
        .set("CORS_ORIGINS", ours)
        .open()
        .await;
    let service = shop.service();

    assert_eq!(allowed(&preflight(service, ours).await), Some(ours));
    assert_eq!(
        allowed(&preflight(service, "https://evil.example").await),
        None
    );
    let read = |origin: &str| -> Call { service.get("/products").header("origin", origin) };
    assert_eq!(allowed(&read(ours).send().await), Some(ours));
    assert_eq!(
        allowed(&read("https://shop.example.evil").send().await),
        None
    );
}

#[tokio::test]
async fn a_page_can_read_a_refusal_that_comes_before_the_handler() {
    let ours = "https://shop.example";
    let plan = Shop::plan(Backend::Sqlite).set("CORS_ORIGINS", ours);
    let shop = plan.open().await;

    let call = shop.service().get("/products?unknown=1");
    let refused = call.header("origin", ours).send().await;

    refused.refusal(422, "invalid_request");
    assert_eq!(allowed(&refused), Some(ours));
    assert!(refused.header("x-request-id").is_some());
}

#[rstest]
#[case::below_a_domain("https://*.shop.example", "https://de.shop.example", true)]
#[case::the_domain("https://*.shop.example", "https://shop.example", false)]
#[case::another_domain("https://*.shop.example", "https://de.shop.example.evil", false)]
#[case::all("*", "https://any.example", true)]
#[tokio::test]
async fn a_wildcard_names_origins(#[case] origins: &str, #[case] origin: &str, #[case] may: bool) {
    let plan = Shop::plan(Backend::Sqlite).set("CORS_ORIGINS", origins);
    let shop = plan.open().await;

    let answer = preflight(shop.service(), origin).await;

    assert_eq!(allowed(&answer).is_some(), may, "{answer:?}");
    assert_eq!(answer.header("access-control-max-age"), Some("7200"));
}

#[tokio::test]
async fn without_cors_origins_no_origin_may_call() {
    let shop = Shop::open(Backend::Sqlite).await;

    for origin in ["https://shop.example", "null", "http://localhost:3000"] {
        assert_eq!(
            allowed(&preflight(shop.service(), origin).await),
            None,
            "{origin}"
        );
    }
}

#[tokio::test]
async fn the_log_is_json_when_configured_and_shows_no_secret() {
    let database = crate::support::postgres::Database::create().await;
    let with_password = database
        .url()
        .replace("postgres@", "postgres:hunter2secret@");
    let plan = Shop::plan(Backend::Postgres).database(&with_password, &database.url());
    let mut shop = plan
        .set("LOG_FORMAT", "json")
        .set("RUST_LOG", "debug")
        .open()
        .await;
    let product = shop.service().product(1, json!({})).await;
    let token = tokens::user("ann");
    for _ in 0..2 {
        let order = json!({ "product_id": product, "quantity": 1 });
        shop.service()
            .post("/orders")
            .bearer(&token)
            .json(&order)
            .send()
            .await;
    }
    shop.nodes[0].stop().await;

    let log = shop.log();

    assert!(log.lines().count() > 1, "{log}");
    for line in log.lines() {
        let entry: Value = serde_json::from_str(line).unwrap_or_else(|_| panic!("{line}"));
        assert!(
            entry["level"].is_string() && entry["timestamp"].is_string(),
            "{line}"
        );
    }
    for secret in ["hunter2secret", tokens::SECRET, token.as_str()] {
        assert!(!log.contains(secret), "the log shows {secret}");
    }
}

#[tokio::test]
async fn a_log_in_a_file_is_plain_text() {
    let mut shop = Shop::open(Backend::Sqlite).await;
    shop.nodes[0].stop().await;

    let log = shop.log();

    assert!(log.contains("INFO"), "{log}");
    assert!(!log.contains('\u{1b}'), "colours are for terminals: {log}");
}
