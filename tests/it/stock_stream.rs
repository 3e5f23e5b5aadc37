//! `GET /products/{id}/events` (SSE) under load: many events, many and slow readers, shutdown.

use std::{
    fs,
    time::{Duration, Instant},
};

use futures::{StreamExt, stream};
use rstest::rstest;
use serde_json::json;
use tokio::task::JoinSet;
use uuid::Uuid;

use crate::support::{
    SOON,
    crowd::{Reader, allow_files},
    eventually,
    race::rush,
    service::Service,
    shop::{Backend, Shop},
    when,
};

const READERS: usize = 5_000;

fn path(product: Uuid) -> String {
    format!("/products/{product}/events")
}

#[rstest]
#[case::sqlite(Backend::Sqlite)]
#[case::two_nodes(Backend::Postgres)]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stream_has_at_most_ten_events_a_second_and_the_last_state(#[case] backend: Backend) {
    let nodes = if backend == Backend::Sqlite { 1 } else { 2 };
    let shop = Shop::plan(backend).nodes(nodes).open().await;
    let product = shop.service().product(200, json!({})).await;
    let mut readers = Vec::new();
    for node in &shop.nodes {
        let mut reader = Reader::open(&node.url, &path(product)).await;
        reader.until("\"stock\":200", SOON).await;
        readers.push(reader);
    }

    let begun = Instant::now();
    for buyer in 0..199 {
        let node = &shop.nodes[buyer % nodes];
        let order = node.buy(&format!("buyer-{buyer}"), product, 1).await;
        order.success(201);
    }
    shop.nodes[0].buy("last", product, 1).await.success(201);

    for reader in &mut readers {
        reader.until("\"stock\":0,", SOON).await;
        let events = reader.text().matches("event: stock").count();
        let most = 2 + usize::try_from(begun.elapsed().as_millis() / 100).unwrap();
        assert!(events <= most, "{events} in {:?}", begun.elapsed());
    }
}

#[tokio::test]
async fn an_idle_stream_sends_keep_alives() {
    let shop = Shop::open(Backend::Sqlite).await;
    let product = shop.service().product(5, json!({})).await;
    let mut reader = Reader::open(&shop.service().url, &path(product)).await;
    reader.until("\"stock\":5", SOON).await;

    reader.until("\n:", Duration::from_secs(20)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn five_thousand_readers_see_the_sale_and_end_with_the_service() {
    allow_files(7_000);
    let mut shop = Shop::open(Backend::Postgres).await;
    let product = shop.service().product(50, json!({})).await;
    let before = shop.service().resident_kib();
    let (url, path) = (shop.service().url.clone(), path(product));
    let opening = (0..READERS).map(|_| Reader::open(&url, &path));
    let mut readers: Vec<Reader> = stream::iter(opening).buffer_unordered(100).collect().await;
    for reader in &mut readers {
        reader.until("\"stock\":50,", SOON).await;
    }

    rush(&shop.nodes, product, 50, 1).await;
    let over = Instant::now();
    for reader in &mut readers {
        reader.until("\"stock\":0,", SOON).await;
    }
    let late = over.elapsed();
    assert!(late < Duration::from_secs(10), "received within {late:?}");
    let each = (shop.service().resident_kib() - before) / READERS;
    assert!(each < 40, "{each} KiB for each reader");

    let begun = Instant::now();
    assert!(shop.nodes[0].stop().await.success());
    assert!(begun.elapsed() < Duration::from_secs(5), "{begun:?}");
    for reader in &mut readers {
        assert!(reader.ends(SOON).await, "the stream ends");
    }
}

/// Only a client that sends requests and reads no answer loses its connection.
#[tokio::test]
async fn a_client_that_does_not_read_is_dropped() {
    let shop = Shop::open(Backend::Sqlite).await;
    let service = shop.service();
    let product = service.product(5, json!({})).await;
    let mut watcher = Reader::open(&service.url, &path(product)).await;
    watcher.until("\"stock\":5", SOON).await;
    let open = async || open_sockets(service);
    let before = open().await;
    let mut stalled = Reader::open_narrow(&service.url, "/openapi.json", Some(4_096)).await;
    for _ in 0..500 {
        stalled.ask_again("/openapi.json").await;
    }
    eventually("the connection is open", SOON, async || {
        when(open().await > before)
    })
    .await;

    eventually("the connection is closed", SOON * 2, async || {
        when(open().await <= before)
    })
    .await;

    assert!(stalled.ends(SOON).await);
    service.buy("ann", product, 1).await.success(201);
    watcher.until("\"stock\":4", SOON).await;
}

fn open_sockets(service: &Service) -> usize {
    let files = fs::read_dir(format!("/proc/{}/fd", service.process.pid())).unwrap();
    let targets = files.filter_map(|file| fs::read_link(file.ok()?.path()).ok());
    targets
        .filter(|target| target.to_string_lossy().starts_with("socket:"))
        .count()
}

/// The admin's connection breaks while the change commits.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_change_is_published_although_its_caller_has_gone() {
    let shop = Shop::open(Backend::Postgres).await;
    let product = shop.service().product(5, json!({})).await;
    for statement in [
        "CREATE FUNCTION slow() RETURNS trigger LANGUAGE plpgsql AS \
            $$ BEGIN PERFORM pg_sleep(0.3); RETURN NEW; END $$",
        "CREATE CONSTRAINT TRIGGER slow_commit AFTER UPDATE ON products \
            DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION slow()",
    ] {
        shop.ledger.execute(statement).await;
    }
    let monitor = shop.redis().0[0].monitor().await;

    let front = shop.service().front();
    let change =
        JoinSet::from_iter([async move { front.change(product, &json!({ "price": 7 })).await }]);
    eventually("the change commits", SOON, async || {
        let sleeping = "SELECT query FROM pg_stat_activity \
            WHERE wait_event = 'PgSleep' AND datname = current_database()";
        when(!shop.ledger.texts(sleeping).await.is_empty())
    })
    .await;
    drop(change);

    eventually("the change is published", SOON, async || {
        let published = |words: &Vec<String>| {
            words[0].eq_ignore_ascii_case("PUBLISH") && words[2].contains(&product.to_string())
        };
        when(monitor.all().iter().any(published))
    })
    .await;
    let row = shop.ledger.product(product).await;
    assert_eq!((row.price, row.version), (7, 2));
}
