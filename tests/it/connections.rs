//! Connections: silent ones end, heads are bounded, and requests find places however many others
//! are open.

use std::time::{Duration, Instant};

use futures::{StreamExt, stream};
use rstest::rstest;
use serde_json::json;
use tokio::time::timeout;

use crate::support::{
    SOON,
    crowd::{Reader, allow_files},
    eventually,
    front::Front,
    shop::{Backend, Shop},
    when,
};

const HALF: &str = "GET /products HTTP/1.1\r\nHost: shop\r\nX-";
/// Between the time limit for a head, 10 s, and that between two requests, 75 s.
const CLOSED_WITHIN: Duration = Duration::from_secs(30);

/// A client without open connections.
fn newcomer(shop: &Shop) -> Front {
    let client = test_support::http::client().unwrap();
    Front::new(shop.service().url.clone(), client)
}

async fn closed(shop: &Shop, reason: &str) -> f64 {
    let metrics = shop.service().metrics().await;
    let labels = [("listener", "api"), ("reason", reason)];
    let closed = metrics.value("flash_sale_connections_closed_total", &labels);
    closed.unwrap()
}

#[rstest]
#[case::nothing("")]
#[case::half_a_head(HALF)]
#[case::half_a_head_behind_a_request("GET /health/live HTTP/1.1\r\nHost: shop\r\n\r\nGET /pro")]
#[tokio::test]
async fn a_connection_without_a_whole_head_is_closed_after_ten_seconds(#[case] sent: &str) {
    let shop = Shop::open(Backend::Sqlite).await;
    let url = &shop.service().url;
    let mut between = Reader::open(url, "/health/live").await;
    between.until("\"up\"", SOON).await;
    let begun = Instant::now();
    let mut silent = Reader::connect(url).await;
    silent.send(sent).await;

    assert!(silent.ends(CLOSED_WITHIN).await, "the connection is open");

    assert!(begun.elapsed() > Duration::from_secs(9), "{begun:?}");
    assert!((closed(&shop, "silent").await - 1.0).abs() < 0.1);
    between.ask_again("/health/ready").await;
    between.until("\"up\"}HTTP/1.1 200", SOON).await;
}

/// A byte a second is no progress: the whole head is due.
#[tokio::test]
async fn a_head_that_trickles_in_is_closed_after_ten_seconds() {
    let shop = Shop::open(Backend::Sqlite).await;
    let mut slow = Reader::connect(&shop.service().url).await;
    let mut letters = "GET /products?".chars().chain(std::iter::repeat('a'));

    eventually("the connection is closed", CLOSED_WITHIN, async || {
        let letter = letters.next()?.to_string();
        let sent = slow.try_send(&letter).await;
        when(sent.is_err() || slow.ends(Duration::from_secs(1)).await)
    })
    .await;
}

#[tokio::test]
async fn a_head_has_at_most_32_kib() {
    let shop = Shop::open(Backend::Sqlite).await;
    let url = &shop.service().url;
    for (padding, status) in [(31, "200 OK"), (33, "431 Request Header Fields Too Large")] {
        let mut reader = Reader::connect(url).await;
        let padding = "a".repeat(padding * 1024);
        let head =
            format!("GET /health/live HTTP/1.1\r\nHost: shop\r\nX-Padding: {padding}\r\n\r\n");
        reader.send(&head).await;
        reader.until(&format!("HTTP/1.1 {status}\r\n"), SOON).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn half_a_head_costs_no_more_memory_than_its_bound() {
    const CONNECTIONS: usize = 1_000;
    allow_files(2_500);
    let shop = Shop::open(Backend::Sqlite).await;
    let service = shop.service();
    let half = format!("{HALF}{}", "a".repeat(31 * 1024));
    let before = service.resident_kib();
    let opening = (0..CONNECTIONS).map(async |_| {
        let mut reader = Reader::connect(&service.url).await;
        reader.send(&half).await;
        reader
    });
    let mut readers: Vec<Reader> = stream::iter(opening).buffer_unordered(100).collect().await;
    all_are_open(&shop, CONNECTIONS).await;

    let each = (service.resident_kib() - before) / CONNECTIONS;

    // A head's 32 KiB, the connection's own state, and what the service itself takes up when it
    // first serves: about 15 MiB over all.
    assert!(each < 64, "{each} KiB for each connection");
    for reader in &mut readers {
        // Refused when the bound is passed, long before the megabyte is complete.
        drop(reader.try_send(&half.repeat(32)).await);
        assert!(reader.ends(SOON).await, "the head is refused");
    }
}

/// A connection without a request is only its socket: buffers would cost it 16 KiB.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn connections_without_a_request_have_no_buffers() {
    const CONNECTIONS: usize = 3_000;
    allow_files(7_000);
    let shop = Shop::open(Backend::Sqlite).await;
    let service = shop.service();
    newcomer(&shop)
        .get("/health/live")
        .send()
        .await
        .success(200);
    let before = service.resident_kib();
    let opening = (0..CONNECTIONS).map(|_| Reader::connect(&service.url));
    let mut readers: Vec<Reader> = stream::iter(opening).buffer_unordered(100).collect().await;
    all_are_open(&shop, CONNECTIONS).await;

    let each = (service.resident_kib() - before) / CONNECTIONS;

    assert!(each < 10, "{each} KiB for each connection");
    for reader in readers.iter_mut().rev().take(100) {
        reader.ask_again("/health/ready").await;
        reader.until("\"up\"}", SOON).await;
    }
}

async fn all_are_open(shop: &Shop, connections: usize) {
    let open = f64::from(u32::try_from(connections).unwrap());
    eventually("all are open", SOON, async || {
        let metrics = shop.service().metrics().await;
        let labels = [("listener", "api")];
        when(metrics.value("flash_sale_connections", &labels)? >= open)
    })
    .await;
}

/// With all places taken by connections that send nothing, a request still finds one.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn silent_connections_make_room_for_requests() {
    let shop = Shop::plan(Backend::Sqlite)
        .set("CONNECTIONS_MAX", "10")
        .open()
        .await;
    let service = shop.service();
    let product = service.product(5, json!({})).await;
    let mut silent = Vec::new();
    for _ in 0..30 {
        silent.push(Reader::connect(&service.url).await);
    }

    let order = newcomer(&shop).buy("ann", product, 1).await;

    order.success(201);
    assert!(closed(&shop, "evicted").await >= 20.0);
    let metrics = service.metrics().await;
    assert!(metrics.shows("flash_sale_connections_max", &[("listener", "api")], 10));
}

/// A client that reads nothing holds its place for 10 s, the time-out of a write, unless a request
/// needs it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn unread_answers_make_room_for_requests() {
    const LARGE: &str = "/docs/swagger-ui-bundle.js";
    let shop = Shop::plan(Backend::Sqlite)
        .set("CONNECTIONS_MAX", "50")
        .open()
        .await;
    let url = &shop.service().url;
    let mut unread = Vec::new();
    for _ in 0..60 {
        let mut reader = Reader::open_narrow(url, LARGE, Some(4_096)).await;
        // More than the system's buffers hold.
        for _ in 0..4 {
            reader.ask_again(LARGE).await;
        }
        unread.push(reader);
    }

    let probe = newcomer(&shop);
    let probe = timeout(Duration::from_secs(4), probe.get("/health/live").send());

    probe.await.expect("an answer in time").success(200);
    assert!(closed(&shop, "evicted").await >= 1.0);
}
