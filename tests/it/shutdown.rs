//! Graceful shutdown: accepted requests are answered; no child process and no lock is left.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use nix::sys::signal::Signal;
use rstest::rstest;
use serde_json::json;
use test_support::process::{descendants_of, is_alive, redis_servers_of};
use tokio::task::JoinSet;

use crate::support::{
    SOON, eventually,
    front::Front,
    load::{Load, door},
    race::together,
    rival::Rival,
    shop::{Backend, Shop},
    when,
};

const STOPS_WITHIN: Duration = Duration::from_secs(10);

/// Fifty orders wait for a lock when the signal comes: all are answered, then the process
/// exits with 0.
#[rstest]
#[case::terminated(Signal::SIGTERM)]
#[case::interrupted(Signal::SIGINT)]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn accepted_orders_are_answered_before_the_exit(#[case] signal: Signal) {
    let mut shop = Shop::plan(Backend::Postgres)
        .set("LOCK_PATIENCE_MS", "4000")
        .open()
        .await;
    let product = shop.service().product(100, json!({})).await;
    let rival = Rival::holds(&shop, product).await;
    let front = shop.service().front();
    let calls = (0..50)
        .map(|n| front.order(&format!("user-{n}"), product, 1))
        .collect();
    let waiting = JoinSet::from_iter([together(calls)]);
    eventually("fifty orders wait", SOON, async || {
        let metrics = shop.service().metrics().await;
        // Reading the metrics is a request too.
        when(metrics.shows("flash_sale_http_in_flight", &[], 51))
    })
    .await;

    shop.service().process.signal(signal).unwrap();
    eventually("new connections are refused", SOON, async || {
        when(front.get("/health/live").try_send().await.is_err())
    })
    .await;
    rival.leaves(shop.redis()).await;

    for answer in waiting.join_all().await.into_iter().flatten() {
        answer.success(201);
    }
    let status = shop.nodes[0].process.exit(STOPS_WITHIN).await.unwrap();
    assert_eq!(status.code(), Some(0));
    assert_eq!(shop.redis().lock_keys().await, Vec::<String>::new());
    assert_eq!(shop.ledger.orders(product).await.len(), 50);
    shop.assert_books(product).await;
}

/// A load balancer needs time to notice that a node stops: until then the node serves new work.
#[rstest]
#[case::sqlite(Backend::Sqlite)]
#[case::postgres(Backend::Postgres)]
#[tokio::test]
async fn a_draining_node_is_not_ready_and_serves_new_work(#[case] backend: Backend) {
    let mut shop = Shop::plan(backend)
        .set("SHUTDOWN_DELAY_MS", "4000")
        .open()
        .await;
    let product = shop.service().product(5, json!({})).await;
    let operations = Front::new(shop.service().operations.clone(), shop.client.clone());
    for front in [&shop.service().front(), &operations] {
        for path in ["/health/live", "/health/ready"] {
            let body = front.get(path).send().await.success(200);
            assert_eq!(body["status"], "up");
        }
    }

    let signalled = Instant::now();
    shop.service().process.signal(Signal::SIGTERM).unwrap();

    for front in [&shop.service().front(), &operations] {
        eventually("it is not ready", SOON, async || {
            let answer = front.get("/health/ready").send().await;
            let body = (answer.status == 503).then(|| answer.json())?;
            assert_eq!(body["status"], "draining");
            Some(())
        })
        .await;
        front.get("/health/live").send().await.success(200);
    }
    // As another client, on a new connection.
    let client = test_support::http::client().unwrap();
    let newcomer = Front::new(shop.service().url.clone(), client);
    newcomer.buy("ann", product, 1).await.success(201);
    let status = shop.nodes[0].process.exit(STOPS_WITHIN).await.unwrap();
    assert_eq!(status.code(), Some(0));
    assert!(signalled.elapsed() >= Duration::from_secs(4));
    shop.assert_books(product).await;
}

/// Each answer of a draining node closes its connection, so that no client has one left when the
/// node stops.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_client_loses_a_request_when_a_delay_ends() {
    let plan = Shop::plan(Backend::Postgres).nodes(2);
    let mut shop = plan.set("SHUTDOWN_DELAY_MS", "3000").open().await;
    let product = shop.service().product(1_000_000, json!({})).await;
    let nodes = [0, 1].map(|node| shop.nodes[node].url.clone());
    let ending = Arc::new(AtomicBool::default());
    let mut clients = JoinSet::new();
    for client in 0..64 {
        let (nodes, ending) = (nodes.clone(), Arc::clone(&ending));
        clients.spawn(async move {
            let user = format!("user-{client}");
            // One connection, which it keeps.
            let own = test_support::http::client().unwrap();
            let fronts = nodes.map(|url| Front::new(url, own.clone()));
            let mut orders = [0_usize; 2];
            let mut node = 0;
            while !ending.load(Ordering::Relaxed) {
                let answer = fronts[node].order(&user, product, 1).try_send().await;
                let answer = answer.map_err(|error| format!("{user} of node {node}: {error:?}"))?;
                answer.success(201);
                orders[node] += 1;
                if answer.header("connection") == Some("close") {
                    node = 1;
                }
            }
            Ok::<_, String>(orders)
        });
    }
    eventually("every client has bought", SOON, async || {
        when(shop.ledger.orders(product).await.len() >= 500)
    })
    .await;

    shop.service().process.signal(Signal::SIGTERM).unwrap();
    let status = shop.nodes[0].process.exit(STOPS_WITHIN).await.unwrap();
    ending.store(true, Ordering::Relaxed);

    assert_eq!(status.code(), Some(0));
    let results = clients.join_all().await;
    let lost: Vec<_> = results.iter().filter_map(|it| it.as_ref().err()).collect();
    assert!(lost.is_empty(), "{} of 64: {lost:?}", lost.len());
    let moved = results.iter().flatten().filter(|[_, second]| *second > 0);
    assert_eq!(moved.count(), 64);
    let sold: usize = results.iter().flatten().flatten().sum();
    assert_eq!(shop.ledger.orders(product).await.len(), sold);
}

/// An operator who cannot wait signals twice.
#[tokio::test]
async fn a_second_signal_ends_the_delay() {
    let mut shop = Shop::plan(Backend::Sqlite)
        .set("SHUTDOWN_DELAY_MS", "600000")
        .open()
        .await;
    let service = shop.service();
    service.process.signal(Signal::SIGTERM).unwrap();
    eventually("it is not ready", SOON, async || {
        when(service.get("/health/ready").send().await.status == 503)
    })
    .await;

    let status = shop.nodes[0].stop().await;

    assert_eq!(status.code(), Some(0));
}

#[rstest]
#[case::sqlite(Backend::Sqlite)]
#[case::postgres(Backend::Postgres)]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stop_under_load_loses_no_order_and_leaves_no_process(#[case] backend: Backend) {
    let mut shop = Shop::open(backend).await;
    let product = shop.service().product(1_000_000, json!({})).await;
    let door = door(shop.service().front());
    let load = Load::start(std::slice::from_ref(&door), product, 32);
    load.sells(100).await;
    let pid = shop.service().process.pid();
    let own_nodes = if backend == Backend::Sqlite { 3 } else { 0 };
    assert_eq!(redis_servers_of(pid).unwrap().len(), own_nodes);
    let descendants = descendants_of(pid).unwrap();

    let status = shop.nodes[0].stop().await;

    assert_eq!(status.code(), Some(0));
    assert_eq!(shop.nodes[0].rest_of_stdout().await, Vec::<String>::new());
    assert!(
        !descendants.iter().any(|child| is_alive(*child).unwrap()),
        "its Redis nodes end before it does"
    );
    if backend == Backend::Postgres {
        assert_eq!(shop.redis().lock_keys().await, Vec::<String>::new());
    }
    for order in load.told().orders {
        assert!(
            shop.ledger.has_order(&order).await,
            "{order} was answered 201"
        );
    }
    shop.restart(0).await;
    *door.lock().unwrap() = shop.service().front();
    let received = load.finish().await;
    assert_eq!(
        shop.ledger.orders(product).await.len(),
        received.orders.len()
    );
    assert_eq!(
        received
            .refusals
            .keys()
            .filter(|code| *code == "internal")
            .count(),
        0
    );
    shop.assert_books(product).await;
}

/// An open event stream must not keep the process alive until its deadline.
#[tokio::test]
async fn open_event_streams_do_not_delay_the_exit() {
    let mut shop = Shop::plan(Backend::Sqlite)
        .set("SHUTDOWN_TIMEOUT_MS", "60000")
        .open()
        .await;
    let product = shop.service().product(5, json!({})).await;
    let call = shop.service().get(&format!("/products/{product}/events"));
    let mut events = crate::support::events::Events::open(call).await;
    events.next(SOON).await;

    let status = shop.nodes[0].stop().await;

    assert_eq!(status.code(), Some(0));
}

#[tokio::test]
async fn the_private_redis_nodes_end_with_a_killed_service() {
    let mut shop = Shop::open(Backend::Sqlite).await;
    let pid = shop.service().process.pid();
    assert_eq!(redis_servers_of(pid).unwrap().len(), 3);
    let descendants = descendants_of(pid).unwrap();

    shop.nodes[0].process.kill();

    eventually("its Redis nodes end", SOON, async || {
        when(!descendants.iter().any(|child| is_alive(*child).unwrap()))
    })
    .await;
}

/// A client that disconnects leaves no half-written order.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_that_disconnects_leaves_whole_orders() {
    let shop = Shop::open(Backend::Postgres).await;
    let product = shop.service().product(500, json!({})).await;

    for round in 0..20 {
        let mut buyers = JoinSet::new();
        for buyer in 0..20 {
            let front = shop.service().front();
            let user = format!("user-{round}-{buyer}");
            buyers.spawn(async move { front.buy(&user, product, 1).await.status });
        }
        assert_eq!(buyers.join_next().await.unwrap().unwrap(), 201);
        buyers.shutdown().await;
    }

    eventually("no other request is in flight", SOON, async || {
        let metrics = shop.service().metrics().await;
        when(metrics.shows("flash_sale_http_in_flight", &[], 1))
    })
    .await;
    eventually("the locks are released", SOON, async || {
        when(shop.redis().lock_keys().await.is_empty())
    })
    .await;
    shop.service().buy("last", product, 1).await.success(201);
    shop.assert_books(product).await;
}
