//! Redis commands of the product lock: key, TTL, owner, release by a script.

use std::time::{Duration, Instant};

use rstest::rstest;
use serde_json::json;
use uuid::Uuid;

use crate::support::{
    SOON, eventually,
    race::{rush, together},
    redis::Monitor,
    rival::Rival,
    shop::{Backend, Plan, Shop},
    when,
};

/// Well before the key would expire.
const RELEASED_WITHIN: Duration = Duration::from_millis(1_500);

fn lock_key(product: Uuid, stock: i64) -> String {
    format!("lock:product:{product}:stock:{stock}")
}

/// The owner in the `SET` of this key on one node; asserts its options and TTL.
fn lock_taken(monitor: &Monitor, key: &str, ttl: &str) -> Option<String> {
    let commands = monitor.commands(key);
    let set = commands
        .iter()
        .find(|words| words[0].eq_ignore_ascii_case("SET"))?;
    let options: Vec<String> = set[3..].iter().map(|word| word.to_uppercase()).collect();
    assert_eq!(options, ["NX", "PX", ttl], "{set:?}");
    Some(set[2].clone())
}

fn lock_released(monitor: &Monitor, key: &str) -> bool {
    let is_script = |word: &str| ["EVAL", "EVALSHA"].contains(&word.to_uppercase().as_str());
    monitor
        .commands(key)
        .iter()
        .any(|words| is_script(&words[0]))
}

#[rstest]
#[case::by_default(Shop::plan(Backend::Postgres), "2000")]
#[case::as_set(Shop::plan(Backend::Postgres).set("LOCK_TTL_MS", "3456"), "3456")]
#[tokio::test]
async fn each_order_takes_and_releases_the_lock_of_its_stock_on_every_node(
    #[case] plan: Plan,
    #[case] ttl: &str,
) {
    let shop = plan.open().await;
    let product = shop.service().product(5, json!({})).await;
    let mut monitors = Vec::new();
    for node in &shop.redis().0 {
        monitors.push(node.monitor().await);
    }

    for stock in [5, 4, 3] {
        shop.service().buy("ann", product, 1).await.success(201);
        let answered = Instant::now();
        let key = lock_key(product, stock);
        eventually("the lock was seen on three nodes", SOON, async || {
            let owners: Vec<_> = monitors
                .iter()
                .filter_map(|m| lock_taken(m, &key, ttl))
                .collect();
            (owners.len() == 3).then(|| {
                assert!(!owners[0].is_empty() && owners.iter().all(|owner| *owner == owners[0]));
            })
        })
        .await;
        eventually("the lock is released", RELEASED_WITHIN, async || {
            when(shop.redis().lock_keys().await.is_empty())
        })
        .await;
        assert!(
            answered.elapsed() < Duration::from_secs(2),
            "released, not expired"
        );
        // By a script that compares the owner, never by a plain DEL.
        for monitor in &monitors {
            eventually("a script releases the lock", SOON, async || {
                when(lock_released(monitor, &key))
            })
            .await;
            let plain = |words: &Vec<String>| words[0].eq_ignore_ascii_case("UNLINK");
            assert!(!monitor.commands(&key).iter().any(plain));
        }
    }
}

/// A waiting order takes a lock that is released within `LOCK_PATIENCE_MS`.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_waiting_order_succeeds_when_the_lock_is_released() {
    let shop = Shop::plan(Backend::Postgres)
        .set("LOCK_PATIENCE_MS", "4000")
        .open()
        .await;
    let product = shop.service().product(5, json!({})).await;
    let rival = Rival::holds(&shop, product).await;

    let (answer, ()) = tokio::join!(shop.service().buy("ann", product, 1), async {
        eventually("the order waits", SOON, async || {
            let metrics = shop.service().metrics().await;
            let busy = metrics.value("flash_sale_lock_acquire_total", &[("outcome", "busy")]);
            (busy? >= 1.0).then_some(())
        })
        .await;
        rival.leaves(shop.redis()).await;
    });

    answer.success(201);
}

/// A foreign key on a minority of the nodes does not block a sale, and stays unchanged.
#[tokio::test]
async fn a_foreign_key_on_a_minority_of_nodes_does_not_block_a_sale() {
    let shop = Shop::open(Backend::Postgres).await;
    let product = shop.service().product(5, json!({})).await;
    let key = lock_key(product, 5);
    let minority_node = &shop.redis().0[1];
    minority_node
        .run::<()>(&["SET", &key, "somebody-else"])
        .await;

    shop.service().buy("ann", product, 1).await.success(201);

    eventually(
        "the other nodes are free again",
        RELEASED_WITHIN,
        async || when(shop.redis().lock_keys().await == [key.clone()]),
    )
    .await;
    assert_eq!(
        minority_node.run::<String>(&["GET", &key]).await,
        "somebody-else"
    );
}

#[rstest]
#[case::one_node(Backend::Postgres)]
#[case::three_nodes(Backend::ThreeNodes)]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_race_leaves_no_lock_behind(#[case] backend: Backend) {
    let shop = Shop::open(backend).await;
    let product = shop.service().product(50, json!({})).await;

    rush(&shop.nodes, product, 200, 1).await;

    eventually("all locks are released", RELEASED_WITHIN, async || {
        when(shop.redis().lock_keys().await.is_empty())
    })
    .await;
}

/// Slows each insert and its commit: Redis answers before an order is written and before it is
/// durable.
const SLOW_WRITES: [&str; 3] = [
    "CREATE FUNCTION slow() RETURNS trigger LANGUAGE plpgsql AS \
        $$ BEGIN PERFORM pg_sleep(0.02); RETURN NEW; END $$",
    "CREATE TRIGGER slow_write AFTER INSERT ON orders FOR EACH ROW EXECUTE FUNCTION slow()",
    "CREATE CONSTRAINT TRIGGER slow_commit AFTER INSERT ON orders \
        DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION slow()",
];

/// While a batch commits, the lane takes the lock of the next batch, unless its queue is empty.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_next_lock_is_taken_while_a_batch_commits() {
    let plan = Shop::plan(Backend::Postgres).patient();
    let plan = plan.set("REQUEST_TIMEOUT_MS", "20000");
    let shop = plan.set("ORDER_BATCH_MAX", "1").open().await;
    let product = shop.service().product(60, json!({})).await;
    for statement in SLOW_WRITES {
        shop.ledger.execute(statement).await;
    }
    let monitor = shop.redis().0[0].monitor().await;

    rush(&shop.nodes, product, 50, 1).await;

    let all = monitor.all();
    let ahead = |stock: &i64| {
        let taken = all.iter().position(|words| {
            words[0].eq_ignore_ascii_case("SET") && words[1] == lock_key(product, *stock)
        });
        let left = format!("\"stock\":{stock},");
        let published = all
            .iter()
            .position(|words| words[0].eq_ignore_ascii_case("PUBLISH") && words[2].contains(&left));
        taken.is_some() && taken < published
    };
    let taken_ahead = (12..60).filter(ahead).count();
    assert!(taken_ahead > 36, "{taken_ahead} of 48");
    eventually("all locks are released", RELEASED_WITHIN, async || {
        when(shop.redis().lock_keys().await.is_empty())
    })
    .await;
}

/// Waitlist joins do not change the stock, so every batch uses the same lock key.
#[rstest]
#[case::sqlite(Backend::Sqlite)]
#[case::postgres(Backend::Postgres)]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lane_does_not_wait_for_its_own_lock(#[case] backend: Backend) {
    let plan = Shop::plan(backend).patient().set("ORDER_BATCH_MAX", "2");
    let shop = plan.open().await;
    let product = shop.service().product(1, json!({ "waitlist": true })).await;
    shop.service().buy("first", product, 1).await.success(201);

    let users = (0..100).map(|user| format!("user-{user}"));
    let places = users.map(|user| shop.service().order_or_wait(&user, product, 1));
    for answer in together(places.collect()).await {
        answer.success(202);
    }

    let metrics = shop.service().metrics().await;
    let [taken, busy] = ["acquired", "busy"].map(|outcome| {
        let outcome = [("outcome", outcome)];
        metrics
            .value("flash_sale_lock_acquire_total", &outcome)
            .unwrap()
    });
    assert!(
        taken >= 30.0 && busy < taken / 10.0,
        "{taken} taken, {busy} times busy"
    );
}

/// Orders that wait at the same time share one lock; this makes the service fast.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn waiting_orders_share_one_lock() {
    let shop = Shop::open(Backend::Postgres).await;
    let product = shop.service().product(10_000, json!({})).await;

    let tally = rush(&shop.nodes, product, 400, 1).await;

    assert_eq!(tally.orders.len(), 400);
    let metrics = shop.service().metrics().await;
    let taken = metrics
        .value("flash_sale_lock_acquire_total", &[("outcome", "acquired")])
        .unwrap();
    assert!(
        (1.0..=200.0).contains(&taken),
        "{taken} locks for 400 orders"
    );
    let batches = metrics.value("flash_sale_batch_orders_count", &[]).unwrap();
    let orders = metrics.value("flash_sale_batch_orders_sum", &[]).unwrap();
    assert!(
        orders >= 400.0 && batches <= orders / 2.0,
        "{orders} orders in {batches} batches"
    );
}
