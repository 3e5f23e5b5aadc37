//! A busy lock: it is waited for while its holder writes, and passed by when the holder is dead.

use std::time::{Duration, Instant};

use rstest::rstest;
use serde_json::json;
use test_support::metrics::Metrics;
use tokio::task::JoinSet;
use uuid::Uuid;

use crate::support::{
    SOON, eventually, ledger,
    race::{rush, together},
    rival::Rival,
    shop::{Backend, Shop},
    when,
};

fn lock_key(product: Uuid, stock: i64) -> String {
    format!("lock:product:{product}:stock:{stock}")
}

fn busy_tries(metrics: &Metrics) -> f64 {
    let busy = [("outcome", "busy")];
    metrics
        .value("flash_sale_lock_acquire_total", &busy)
        .unwrap()
}

/// Batches that went without a lock: its holder was passed by, or, on a slow machine, a try took
/// longer than its limit.
async fn unlocked(shop: &Shop) -> f64 {
    let mut unlocked = 0.0;
    for node in &shop.nodes {
        let metrics = node.metrics().await;
        let failed = [("outcome", "error")];
        for (name, labels) in [
            ("flash_sale_lock_bypassed_total", &[][..]),
            ("flash_sale_lock_acquire_total", &failed),
        ] {
            unlocked += metrics.value(name, labels).unwrap_or_default();
        }
    }
    unlocked
}

/// The key stays until its TTL ends; nobody is refused for it, and nobody deletes it.
#[rstest]
#[case::one_owner("somebody-else", "250")]
#[case::an_empty_owner("", "250")]
#[case::short_patience("somebody-else", "20")]
#[tokio::test]
async fn the_lock_of_a_dead_holder_is_passed_by_and_never_deleted(
    #[case] owner: &str,
    #[case] patience: &str,
) {
    let plan = Shop::plan(Backend::Postgres).set("LOCK_PATIENCE_MS", patience);
    let shop = plan.open().await;
    let product = shop.service().product(5, json!({})).await;
    let key = lock_key(product, 5);
    shop.redis().set(&key, owner).await;

    for user in ["ann", "bob"] {
        shop.service().buy(user, product, 1).await.success(201);
    }

    let metrics = shop.service().metrics().await;
    let once = metrics.shows("flash_sale_lock_bypassed_total", &[], 1);
    assert!(once, "the next level is free");
    assert!(busy_tries(&metrics) >= 1.0);
    for node in &shop.redis().0 {
        assert_eq!(
            node.run::<Option<String>>(&["GET", &key]).await.as_deref(),
            Some(owner)
        );
    }
    assert_eq!(shop.redis().lock_keys().await.len(), 3, "no other is left");
    let log = shop.log();
    assert_eq!(log.matches("its holder is dead or paused").count(), 1);
    shop.assert_books(product).await;
}

/// The other node writes all the time, so the lock is respected, and patience ends.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lock_that_changes_hands_is_respected() {
    let shop = Shop::open(Backend::Postgres).await;
    let product = shop.service().product(5, json!({})).await;
    let rival = Rival::holds(&shop, product).await;

    for user in ["ann", "bob"] {
        let begun = Instant::now();
        let answer = shop.service().buy(user, product, 1).await;
        let waited = begun.elapsed();
        let body = answer.refusal(400, "high_demand");
        assert_eq!(body["detail"], "High demand! Please try again.");
        answer.retry_after();
        assert!(
            waited >= Duration::from_millis(240),
            "LOCK_PATIENCE_MS is 250 ms, it waited {waited:?}"
        );
    }
    let metrics = shop.service().metrics().await;
    assert!(metrics.shows("flash_sale_lock_bypassed_total", &[], 0));
    assert!(shop.ledger.orders(product).await.is_empty());

    rival.leaves(shop.redis()).await;
    shop.service().buy("ann", product, 1).await.success(201);
    shop.assert_books(product).await;
}

const BLOCKED: &str = "SELECT 'waits' FROM pg_locks JOIN pg_stat_activity USING (pid) \
    WHERE datname = current_database() AND NOT granted";

/// Orders queue behind a batch for longer than the patience, and then meet a busy lock.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn patience_counts_the_lock_and_not_the_queue() {
    /// Longer than `LOCK_PATIENCE_MS`, shorter than a batch waits for a row.
    const QUEUED_FOR: Duration = Duration::from_millis(120);
    let plan = Shop::plan(Backend::Postgres).set("LOCK_PATIENCE_MS", "100");
    let shop = plan.set("REQUEST_TIMEOUT_MS", "10000").open().await;
    let product = shop.service().product(100, json!({})).await;
    let front = shop.service().front();
    front.buy("warm", product, 1).await.success(201);
    // A row lock holds the first batch inside its transaction.
    let blocker = ledger::connect(&shop.database_url).await;
    let row = format!("BEGIN; SELECT id FROM products WHERE id = '{product}' FOR UPDATE");
    sea_orm::ConnectionTrait::execute_unprepared(&blocker, &row)
        .await
        .unwrap();
    let mut waiting = JoinSet::new();
    let mut order = |number: u32| {
        let front = front.clone();
        waiting.spawn(async move { front.buy(&format!("user-{number}"), product, 1).await });
    };
    order(0);
    eventually("the first batch waits for the row", SOON, async || {
        when(!shop.ledger.texts(BLOCKED).await.is_empty())
    })
    .await;
    (1..8).for_each(&mut order);
    eventually("the others have arrived", SOON, async || {
        let metrics = shop.service().metrics().await;
        when(metrics.shows("flash_sale_http_in_flight", &[], 9))
    })
    .await;
    let queued = Instant::now();
    let old = async || when(queued.elapsed() > QUEUED_FOR);
    eventually("they are older than the patience", SOON, old).await;
    let next = lock_key(product, 98);
    shop.redis().set(&next, "somebody-else").await;
    sea_orm::ConnectionTrait::execute_unprepared(&blocker, "COMMIT")
        .await
        .unwrap();
    eventually("the lock is busy", SOON, async || {
        when(busy_tries(&shop.service().metrics().await) >= 1.0)
    })
    .await;
    shop.redis().delete(&next).await;

    for answer in waiting.join_all().await {
        answer.success(201);
    }
    shop.assert_books(product).await;
}

/// Both pass the same lock by: the fence lets one of them write at a time.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_nodes_that_pass_a_lock_by_oversell_nothing() {
    let plan = Shop::plan(Backend::Postgres).nodes(2);
    let shop = plan.set("LOCK_PATIENCE_MS", "5000").open().await;
    let product = shop.service().product(30, json!({})).await;
    shop.redis().set(&lock_key(product, 30), "dead").await;

    let tally = rush(&shop.nodes, product, 40, 1).await;

    assert_eq!(tally.orders.len(), 30);
    assert_eq!(tally.refused("sold_out"), 10);
    assert!(unlocked(&shop).await >= 1.0);
    shop.assert_books(product).await;
}

/// Joining moves the version and not the level, so every batch of both nodes needs the same lock.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_level_whose_holder_is_dead_turns_nobody_away() {
    let plan = Shop::plan(Backend::Postgres).nodes(2);
    let shop = plan.set("ORDER_BATCH_MAX", "4").open().await;
    let product = shop.service().sold_out().await;
    let key = lock_key(product, 0);
    eventually("the lock is free", SOON, async || {
        when(shop.redis().lock_keys().await.is_empty())
    })
    .await;
    shop.redis().set(&key, "dead").await;

    let places = (0..80).map(|user| {
        let node = &shop.nodes[user % 2];
        node.order_or_wait(&format!("user-{user}"), product, 1)
    });
    for answer in together(places.collect()).await {
        answer.success(202);
    }

    let unlocked = unlocked(&shop).await;
    assert!(unlocked >= 20.0, "{unlocked} of 20 batches");
    assert_eq!(shop.ledger.queue(product).await.len(), 80);
    shop.assert_books(product).await;
}
