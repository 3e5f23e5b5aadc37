//! What all event streams have in common: their end, what proxies and browsers need, their cost.

use futures::future::join_all;
use rstest::rstest;
use serde_json::{Value, json};

use crate::support::{
    SOON,
    events::Events,
    eventually,
    front::Front,
    shop::{Backend, Shop},
    tokens, when,
};

/// Streams of one user.
const STREAMS: usize = 100;
const CHANGES: usize = 10;
/// Reads of the user's orders for all streams together: one for each stream at most when it opens,
/// a few for each change, and polls on a slow machine. A read for each stream and change would make
/// more than a thousand.
const READS_MAX: i64 = 400;

async fn follow(front: &Front, token: &str) -> Events {
    Events::open(front.get("/me/events").bearer(token)).await
}

fn field<'a>(frame: &'a str, name: &str) -> Option<&'a str> {
    let field = frame.lines().find_map(|line| line.strip_prefix(name));
    field.map(|value| value.trim_start_matches(':').trim())
}

#[tokio::test]
async fn a_stream_ends_with_its_token() {
    let shop = Shop::open(Backend::Sqlite).await;
    let expires = json!({ "sub": "ann", "exp": tokens::expiry(3) });

    let mut short = follow(shop.service(), &tokens::sign(&expires)).await;
    let mut long = follow(shop.service(), &tokens::user("ann")).await;
    short.end(SOON).await;

    let product = shop.service().product(1, json!({})).await;
    shop.service().buy("ann", product, 1).await.success(201);
    long.until(|kind, _| kind == "order", SOON).await;
}

#[rstest]
#[case::stock(true)]
#[case::own_orders(false)]
#[tokio::test]
async fn streams_name_their_states_and_pass_proxies(#[case] stock: bool) {
    let shop = Shop::open(Backend::Sqlite).await;
    let service = shop.service();
    let product = service.product(3, json!({})).await;
    service.buy("ann", product, 1).await.success(201);
    let call = || {
        if stock {
            service.get(&format!("/products/{product}/events"))
        } else {
            service.get("/me/events").bearer(&tokens::user("ann"))
        }
    };

    let mut stream = Events::open(call()).await;

    assert_eq!(stream.header("x-accel-buffering"), "no");
    assert_eq!(stream.header("cache-control"), "no-cache");
    let first = stream.frame(SOON).await;
    let retry: u64 = field(&first, "retry").unwrap().parse().unwrap();
    assert!((1_000..=3_000).contains(&retry), "{first}");
    let event = stream.frame(SOON).await;
    let id = field(&event, "id").unwrap().to_owned();
    // The same state has the same id after a reconnection.
    let mut again = Events::open(call()).await;
    again.frame(SOON).await;
    assert_eq!(field(&again.frame(SOON).await, "id"), Some(&*id));
    let other = service.buy("ann", product, 1).await.success(201);
    let next = stream.frame(SOON).await;
    assert_ne!(field(&next, "id"), Some(&*id), "{next} {other}");
}

/// By the index scans that PostgreSQL itself counts.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_streams_of_a_user_share_their_reads() {
    let mut shop = Shop::plan(Backend::Postgres)
        .set("STREAMS_PER_USER_MAX", "0")
        .open()
        .await;
    let service = shop.service();
    let product = service.product(99, json!({ "hold_seconds": 600 })).await;
    let mut orders = Vec::new();
    for _ in 0..CHANGES {
        let order = service.buy("ann", product, 1).await.success(201);
        orders.push(order["id"].clone());
    }
    let token = tokens::user("ann");
    let opened = (0..STREAMS).map(|_| follow(service, &token));
    let mut streams = join_all(opened).await;

    for order in orders {
        let id = order.as_str().unwrap();
        let cancelled = service.cancel(&tokens::admin(), id).send().await;
        cancelled.success(200);
        let is_expected = |kind: &str, data: &Value| {
            kind == "order" && data["id"] == order && data["status"] == "cancelled"
        };
        let seen = streams.iter_mut().map(|it| it.until(is_expected, SOON));
        join_all(seen).await;
    }

    drop(streams);
    shop.nodes[0].stop().await;
    let others = "SELECT COUNT(*)::text FROM pg_stat_activity \
                  WHERE datname = current_database() AND pid <> pg_backend_pid()";
    eventually("its connections are closed", SOON, async || {
        when(shop.ledger.texts(others).await == ["0"])
    })
    .await;
    let reads = "SELECT MAX(idx_scan)::text FROM pg_stat_user_indexes \
                 WHERE indexrelname ~ '^waitlist_entries_user_id_idx(_p[0-9]+)?$'";
    let reads: i64 = shop.ledger.texts(reads).await[0].parse().unwrap();
    assert!((1..READS_MAX).contains(&reads), "{reads}");
}
