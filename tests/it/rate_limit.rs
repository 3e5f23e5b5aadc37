//! Rate limit per user: one limit over all nodes, also during and after a Redis outage.

use std::time::{Duration, Instant};

use rstest::rstest;
use serde_json::json;
use uuid::Uuid;

use crate::support::{
    SOON, eventually,
    http::Answer,
    race::together,
    shop::{Backend, Shop},
    when,
};

const LIMIT: usize = 10;
/// A limit of which users may owe a part.
const LARGE: usize = 600;
const LIMIT_HEADER: &str = "10";
/// Time in which one request of the limit is refilled.
const CELL: Duration = Duration::from_secs(6);

async fn open(backend: Backend, nodes: usize) -> Shop {
    let plan = Shop::plan(backend).nodes(nodes);
    plan.set("RATE_LIMIT_PER_MINUTE", LIMIT_HEADER).open().await
}

/// Sends so many orders at once, spread over the nodes, and counts those that were not limited.
async fn flood(shop: &Shop, user: &str, product: Uuid, requests: usize) -> usize {
    let nodes = shop.nodes.iter().cycle().take(requests);
    let answers = together(nodes.map(|node| node.order(user, product, 1)).collect()).await;
    answers.iter().filter(|answer| !is_limited(answer)).count()
}

fn is_limited(answer: &Answer) -> bool {
    assert!(answer.status < 500, "{answer:?}");
    answer.code() == "rate_limited"
}

/// Requests that the limit allows from `begun` until now.
fn allowed(begun: Instant) -> usize {
    LIMIT + usize::try_from(begun.elapsed().as_secs() / CELL.as_secs()).unwrap()
}

#[rstest]
#[case::one_sqlite(Backend::Sqlite, 1)]
#[case::two_nodes(Backend::Postgres, 2)]
#[case::three_nodes(Backend::ThreeNodes, 3)]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn all_nodes_together_admit_exactly_the_limit(
    #[case] backend: Backend,
    #[case] nodes: usize,
) {
    let shop = open(backend, nodes).await;
    let product = shop.service().product(1_000, json!({})).await;

    let begun = Instant::now();
    let admitted = flood(&shop, "ann", product, 90).await;

    assert!(
        (LIMIT..=allowed(begun)).contains(&admitted),
        "{admitted} in {:?}",
        begun.elapsed()
    );
    // Other users are not affected.
    for user in ["bob", "carl", "dora"] {
        assert_eq!(flood(&shop, user, product, LIMIT).await, LIMIT, "{user}");
    }
}

#[tokio::test]
async fn a_limited_answer_states_when_to_retry() {
    let shop = open(Backend::Postgres, 2).await;
    let product = shop.service().product(1_000, json!({})).await;
    flood(&shop, "ann", product, LIMIT).await;

    for node in &shop.nodes {
        let answer = node.buy("ann", product, 1).await;
        answer.refusal(429, "rate_limited");
        assert!(answer.retry_after() <= CELL.as_secs(), "{answer:?}");
        let header = |name: &str| answer.header(name).unwrap().parse::<u64>().unwrap();
        assert_eq!(answer.header("ratelimit-limit"), Some(LIMIT_HEADER));
        assert_eq!(header("ratelimit-remaining"), 0);
        assert!((50..=60).contains(&header("ratelimit-reset")), "{answer:?}");
    }

    eventually("the next cell", SOON, async || {
        when(!is_limited(&shop.service().buy("ann", product, 1).await))
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_redis_each_node_counts_its_own_requests() {
    let mut shop = open(Backend::Postgres, 2).await;
    let product = shop.service().product(1_000, json!({})).await;
    let begun = Instant::now();
    let before = flood(&shop, "ann", product, 6).await;
    assert_eq!(before, 6);

    for node in &mut shop.redis_mut().0 {
        node.kill();
    }
    // Three of each node's ten were used by then.
    let after = flood(&shop, "ann", product, 90).await;
    let most = 2 * allowed(begun) - before;
    assert!((1..=most).contains(&after), "{after}, not {most} at most");
    assert_eq!(flood(&shop, "bob", product, LIMIT).await, LIMIT);

    for node in &mut shop.redis_mut().0 {
        node.restart().await;
    }
    // A new user for each try, until Redis counts again.
    let mut newcomers = 0;
    eventually("one limit over both nodes again", SOON * 2, async || {
        newcomers += 1;
        let begun = Instant::now();
        let admitted = flood(&shop, &format!("new-{newcomers}"), product, 40).await;
        when((LIMIT..=allowed(begun)).contains(&admitted))
    })
    .await;
}

/// Otherwise a user would get the whole limit once more when Redis answers again.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_the_nodes_admit_without_redis_counts_afterwards() {
    let shop = open(Backend::Postgres, 2).await;
    let product = shop.service().product(1_000, json!({})).await;
    let redis = &shop.redis().0[0];
    redis.pause();
    let begun = Instant::now();
    eventually("each node admits the limit", SOON, async || {
        flood(&shop, "ann", product, 4 * LIMIT).await;
        let fallbacks = counted_alone(&shop).await;
        when(fallbacks.iter().all(|number| *number >= Some(40.0)))
    })
    .await;
    redis.resume();

    let mut newcomers = 0;
    let mut admitted = 0;
    eventually("Redis counts again", SOON * 2, async || {
        newcomers += 1;
        let newcomer = format!("new-{newcomers}");
        let again = flood(&shop, &newcomer, product, 4 * LIMIT).await < 2 * LIMIT;
        admitted += flood(&shop, "ann", product, 4 * LIMIT).await;
        when(again)
    })
    .await;

    // Cells that were refilled meanwhile, on both nodes.
    let refilled = 2 * (allowed(begun) - LIMIT);
    assert!(admitted <= refilled, "{admitted}, not {refilled} at most");
}

/// A Redis that accepts and never answers delays a request a little, not until its time-out.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hung_redis_does_not_delay_orders() {
    let shop = open(Backend::Postgres, 1).await;
    let product = shop.service().product(1_000, json!({})).await;
    shop.redis().0[0].pause();

    let begun = Instant::now();
    for user in 0..20 {
        let answer = shop
            .service()
            .buy(&format!("user-{user}"), product, 1)
            .await;
        answer.success(201);
    }

    assert!(begun.elapsed() < SOON, "{:?}", begun.elapsed());
    shop.redis().0[0].resume();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_flood_of_one_user_does_not_reach_redis() {
    let shop = open(Backend::Postgres, 1).await;
    let product = shop.service().product(1_000, json!({})).await;
    let monitor = shop.redis().0[0].monitor().await;

    // On a busy machine a call can exceed its 50 ms; then the node counts alone for half a second.
    let mut users = 0;
    let what = "Redis checks every admitted request of a flood";
    eventually(what, SOON * 2, async || {
        users += 1;
        let user = format!("ann-{users}");
        let begun = Instant::now();
        flood(&shop, &user, product, LIMIT + 1).await;

        flood(&shop, &user, product, 300).await;

        let key = format!("flash-sale:{{rate}}:{user}");
        let commands = monitor.commands(&key);
        let scripts = commands.iter().filter(|words| words[0].starts_with("EVAL"));
        // One script call serves all waiting requests.
        let checks = scripts.flatten().filter(|word| **word == key).count();
        // One for each admitted request, and for those in flight when the first was refused.
        assert!(checks <= allowed(begun) + 11, "{checks} checks");
        when(checks >= LIMIT)
    })
    .await;
}

/// Waits until every node knows how many there are, and so admits a new user without Redis.
async fn nodes_are_counted(shop: &Shop, product: Uuid) {
    let monitor = shop.redis().0[0].monitor().await;
    let mut users = 0;
    eventually("users that Redis does not hear of", SOON, async || {
        users += 1;
        let user = format!("modest-{users}");
        for node in &shop.nodes {
            node.buy(&user, product, 1).await.success(201);
        }
        // Redis has received what was sent before this.
        let _: String = shop.redis().0[0].run(&["PING", &user]).await;
        let known: i64 = shop.redis().0[0].run(&["ZCARD", "flash-sale:nodes"]).await;
        let all = usize::try_from(known).unwrap() == shop.nodes.len();
        let key = format!("flash-sale:{{rate}}:{user}");
        when(all && monitor.commands(&key).is_empty())
    })
    .await;
}

/// Each node counts itself and the others, whatever the fractions of the clock are.
#[tokio::test]
async fn the_nodes_count_each_other_every_time() {
    const SCRIPT: &str = include_str!("../../src/admission/rate_limit/nodes.lua");
    let shop = Shop::plan(Backend::Postgres).nodes(1).open().await;
    let redis = &shop.redis().0[0];
    let announce = async |name| {
        let words = ["EVAL", SCRIPT, "1", "nodes", name, "5"];
        redis.run::<i64>(&words).await
    };
    announce("one").await;
    for _ in 0..50 {
        assert_eq!(announce("two").await, 2);
        assert_eq!(announce("one").await, 2);
    }
}

/// How somebody tries to get more than the limit from three nodes.
#[derive(Clone, Copy)]
enum Attack {
    /// All nodes in turn.
    Spread,
    /// One node after the other.
    Sweep,
    /// The second and third node first, as far as they do not ask; then the first.
    Owe,
}

impl Attack {
    /// Sends far more orders than the limit; those that were not limited.
    async fn run(self, shop: &Shop, user: &str, product: Uuid) -> usize {
        let rounds: [(&[usize], usize); 3] = match self {
            Self::Spread => [(&[0, 1, 2], LARGE); 3],
            Self::Sweep => [(&[0], LARGE), (&[1], LARGE), (&[2], LARGE)],
            Self::Owe => [(&[1, 2], LARGE / 60), (&[0], LARGE), (&[1, 2], LARGE)],
        };
        let mut admitted = 0;
        for (nodes, requests) in rounds {
            let nodes = nodes.iter().map(|node| &shop.nodes[*node]);
            let orders = nodes.cycle().take(requests);
            let orders = orders.map(|node| node.order(user, product, 1)).collect();
            let answers = together(orders).await;
            admitted += answers.iter().filter(|answer| !is_limited(answer)).count();
        }
        admitted
    }
}

#[rstest]
#[case::spread(Attack::Spread)]
#[case::sweep(Attack::Sweep)]
#[case::owe(Attack::Owe)]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nobody_exceeds_a_large_limit_by_more_than_a_tenth(#[case] attack: Attack) {
    let plan = Shop::plan(Backend::ThreeNodes).nodes(3);
    let shop = plan
        .set("RATE_LIMIT_PER_MINUTE", &LARGE.to_string())
        .open()
        .await;
    let product = shop.service().product(10_000, json!({})).await;
    nodes_are_counted(&shop, product).await;

    // While Redis is late on a busy machine, each node counts alone: another user then.
    let mut users = 0;
    eventually("Redis counts what it is asked for", SOON * 2, async || {
        users += 1;
        let alone = counted_alone(&shop).await;
        let begun = Instant::now();
        let admitted = attack.run(&shop, &format!("ann-{users}"), product).await;
        let refilled = LARGE * usize::try_from(begun.elapsed().as_secs() + 1).unwrap() / 60;
        let most = LARGE + LARGE / 10 + refilled;
        assert!(admitted >= LARGE, "{admitted}");
        when(counted_alone(&shop).await == alone).inspect(|()| {
            assert!(admitted <= most, "{admitted}, {most} at most");
        })
    })
    .await;
}

/// For each node, the requests that it decided without Redis, because that was late.
async fn counted_alone(shop: &Shop) -> Vec<Option<f64>> {
    let mut alone = Vec::new();
    for node in &shop.nodes {
        let metrics = node.metrics().await;
        alone.push(metrics.value("flash_sale_rate_limit_fallback_total", &[]));
    }
    alone
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn zero_disables_the_limit_and_sends_nothing_to_redis() {
    let plan = Shop::plan(Backend::Postgres).set("RATE_LIMIT_PER_MINUTE", "0");
    let shop = plan.open().await;
    let product = shop.service().product(1_000, json!({})).await;

    let admitted = flood(&shop, "ann", product, 1_000).await;

    assert_eq!(admitted, 1_000);
    let keys: Vec<String> = shop.redis().0[0].run(&["KEYS", "*rate*"]).await;
    assert!(keys.is_empty(), "{keys:?}");
}

/// Refusals that cost a node no more than a look into its memory count like all other requests.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn refusals_of_the_sold_out_gates_count_over_all_nodes() {
    let shop = open(Backend::Postgres, 3).await;
    let product = shop.service().product(0, json!({})).await;
    for (number, node) in shop.nodes.iter().enumerate() {
        let somebody = format!("somebody-{number}");
        eventually("the gate knows the product", SOON, async || {
            when(is_limited(&node.buy(&somebody, product, 1).await))
        })
        .await;
    }

    let begun = Instant::now();
    let admitted = flood(&shop, "ann", product, 90).await;

    assert!(admitted >= LIMIT, "{admitted}");
    assert!(admitted <= allowed(begun), "{admitted}");
}
