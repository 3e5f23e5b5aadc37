//! `REDIS_URL` of a Redis Cluster: rate limits, cached products and events work with it, also after
//! it has failed over.

use std::time::Duration;

use serde_json::json;

use crate::support::{
    SOON,
    events::Events,
    eventually,
    race::together,
    redis::{Node, Nodes},
    shop::{Backend, Shop},
    when,
};

/// Slots of the three primaries; the keys of rate limits are in the last.
const SLOTS: [[&str; 2]; 3] = [["0", "5460"], ["5461", "10922"], ["10923", "16383"]];
const LIMIT: usize = 20;

/// Tries again should another process have taken its second port, 10,000 above the first.
async fn member() -> Node {
    for _ in 0..5 {
        let mut node = Nodes::start(1).await.0.remove(0);
        node.restart_as(&[
            "--cluster-enabled",
            "yes",
            "--cluster-node-timeout",
            "1000",
            "--repl-diskless-sync-delay",
            "0",
        ]);
        if node.is_ready().await {
            return node;
        }
    }
    panic!("a member of a Redis Cluster starts");
}

/// Three primaries, and a replica of the one that has the rate limits.
async fn cluster() -> Nodes {
    let nodes = Nodes(vec![
        member().await,
        member().await,
        member().await,
        member().await,
    ]);
    let first = nodes.0[0].port().to_string();
    for (node, [from, to]) in nodes.0.iter().zip(SLOTS) {
        node.run::<()>(&["CLUSTER", "ADDSLOTSRANGE", from, to])
            .await;
    }
    // Epochs would collide, and be told apart only after a while.
    for (node, epoch) in nodes.0.iter().zip(["1", "2", "3", "4"]) {
        node.run::<()>(&["CLUSTER", "SET-CONFIG-EPOCH", epoch])
            .await;
        node.run::<()>(&["CLUSTER", "MEET", "127.0.0.1", &first])
            .await;
    }
    for node in &nodes.0 {
        contains(node, &["CLUSTER", "INFO"], "cluster_state:ok").await;
        contains(node, &["CLUSTER", "INFO"], "cluster_known_nodes:4").await;
    }
    let primary: String = nodes.0[2].run(&["CLUSTER", "MYID"]).await;
    let replica = &nodes.0[3];
    replica.run::<()>(&["CLUSTER", "REPLICATE", &primary]).await;
    contains(replica, &["INFO", "replication"], "master_link_status:up").await;
    contains(&nodes.0[2], &["INFO", "replication"], "state=online").await;
    nodes
}

async fn contains(node: &Node, words: &[&str], wanted: &str) {
    eventually(wanted, SOON, async || {
        when(node.run::<String>(words).await.contains(wanted))
    })
    .await;
}

/// Sends five times the limit over both nodes and counts what was admitted.
async fn admitted(shop: &Shop, user: &str, product: uuid::Uuid) -> usize {
    let nodes = shop.nodes.iter().cycle().take(5 * LIMIT);
    let answers = together(nodes.map(|node| node.order(user, product, 1)).collect()).await;
    answers.iter().filter(|answer| answer.status == 201).count()
}

/// A user gets the limit once, and not once on each node. The bucket refills within a minute.
async fn counts_together(shop: &Shop, prefix: &str, product: uuid::Uuid) {
    let mut tries = 0;
    eventually("both nodes count in Redis", SOON * 2, async || {
        tries += 1;
        let user = format!("{prefix}-{tries}");
        when(admitted(shop, &user, product).await <= LIMIT + LIMIT / 4)
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nodes_share_a_redis_cluster_and_follow_its_fail_over() {
    let mut redis = cluster().await;
    let [first, second, ..] = &redis.0[..] else {
        panic!("four nodes")
    };
    let url = format!(
        "redis-cluster://127.0.0.1:{}?node=127.0.0.1:{}",
        first.port(),
        second.port()
    );
    let shop = Shop::plan(Backend::Postgres)
        .nodes(2)
        .set("REDIS_URL", &url)
        .set("RATE_LIMIT_PER_MINUTE", &LIMIT.to_string())
        .open()
        .await;
    let product = shop.service().product(10_000, json!({})).await;

    counts_together(&shop, "before", product).await;
    // Products are in all slots.
    for _ in 0..6 {
        let product = shop.service().product(5, json!({})).await;
        let (path, key) = (
            format!("/products/{product}"),
            format!("flash-sale:product:{product}"),
        );
        eventually("a product is cached in its slot", SOON, async || {
            shop.nodes[1].get(&path).send().await.success(200);
            let mut found = 0;
            for node in &redis.0[..3] {
                found += node.run::<Vec<String>>(&["KEYS", &key]).await.len();
            }
            when(found == 1)
        })
        .await;
    }
    hears(&shop, product).await;

    redis.0[2].kill();
    contains(&redis.0[3], &["INFO", "replication"], "role:master").await;
    contains(&redis.0[0], &["CLUSTER", "INFO"], "cluster_state:ok").await;

    counts_together(&shop, "after", product).await;
    hears(&shop, product).await;
}

/// A stock event of one node reaches a stream of the other well before its poll, once a second.
async fn hears(shop: &Shop, product: uuid::Uuid) {
    let mut tries = 0;
    eventually("an order is heard of at once", SOON, async || {
        tries += 1;
        let path = format!("/products/{product}/events");
        let mut events = Events::open(shop.nodes[1].get(&path)).await;
        let stock = events.next(SOON).await["stock"].as_i64().unwrap();
        shop.nodes[0]
            .buy(&format!("h-{tries}-{stock}"), product, 1)
            .await
            .success(201);
        let heard = events.until_stock(stock - 1, Duration::from_secs(1));
        when(
            tokio::time::timeout(Duration::from_millis(300), heard)
                .await
                .is_ok(),
        )
    })
    .await;
}
