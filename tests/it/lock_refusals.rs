//! Lock nodes that answer PING but refuse locks: out of the lock, with the reason in view.

use std::time::Duration;

use rstest::rstest;
use serde_json::{Value, json};

use crate::support::{
    SOON, eventually,
    redis::Node,
    shop::{Backend, Shop},
    when,
};

/// Every reason that `flash_sale_lock_nodes_out` has as a label.
const REASONS: [&str; 12] = [
    "unreachable",
    "silent",
    "read_only",
    "out_of_memory",
    "no_permission",
    "unauthenticated",
    "cluster_down",
    "moved",
    "loading",
    "not_durable",
    "refused",
    "returning",
];

/// A way to make a node refuse locks while it answers PING.
#[derive(Clone, Copy, Debug)]
enum Refusal {
    Replica,
    Full,
    /// The user may not SET.
    NoSet,
    /// The user may write other keys only.
    NoKey,
    /// The user may not run the script that releases a lock.
    NoScript,
}

impl Refusal {
    fn reason(self) -> &'static str {
        match self {
            Self::Replica => "read_only",
            Self::Full => "out_of_memory",
            Self::NoSet | Self::NoKey | Self::NoScript => "no_permission",
        }
    }

    async fn begin(self, node: &Node) {
        match self {
            // Of a master that does not exist: the replica refuses writes all the same.
            Self::Replica => node.run::<()>(&["REPLICAOF", "127.0.0.1", "1"]).await,
            Self::Full => node.run::<()>(&["CONFIG", "SET", "maxmemory", "1"]).await,
            Self::NoSet => node.run::<()>(&["ACL", "SETUSER", "default", "-set"]).await,
            Self::NoKey => {
                let words = ["ACL", "SETUSER", "default", "resetkeys", "~other:*"];
                node.run::<()>(&words).await;
            }
            Self::NoScript => {
                let words = ["ACL", "SETUSER", "default", "-@scripting"];
                node.run::<()>(&words).await;
            }
        }
    }

    async fn end(self, node: &Node) {
        match self {
            Self::Replica => node.run::<()>(&["REPLICAOF", "NO", "ONE"]).await,
            Self::Full => node.run::<()>(&["CONFIG", "SET", "maxmemory", "0"]).await,
            Self::NoSet | Self::NoKey | Self::NoScript => {
                let words = ["ACL", "SETUSER", "default", "~*", "+@all"];
                node.run::<()>(&words).await;
            }
        }
    }
}

/// Waits until exactly these nodes are out for this reason, in `/health` and in the metrics.
async fn nodes_out(shop: &Shop, nodes: &[u64], reason: &str) {
    let out: Vec<Value> = nodes
        .iter()
        .map(|node| json!({ "node": node, "reason": reason }))
        .collect();
    let count = u32::try_from(nodes.len()).unwrap();
    eventually(&format!("{out:?} are out"), SOON, async || {
        let (status, body) = shop.service().health().await;
        assert_eq!(status, 200, "orders can be taken: {body}");
        let metrics = shop.service().metrics().await;
        let labels = [("reason", reason)];
        let counted = metrics.shows("flash_sale_lock_nodes_out", &labels, count)
            && metrics.shows("flash_sale_lock_nodes_out", &[], count)
            && metrics.shows("flash_sale_lock_nodes_healthy", &[], 3 - count);
        when(counted && body["lock"]["nodes_out"] == json!(out))
    })
    .await;
}

/// How often the log names this reason.
fn logged(shop: &Shop, reason: &str) -> usize {
    let line = format!("is out of the lock: {reason} (");
    shop.log().matches(&line).count()
}

#[rstest]
#[case::replica(Refusal::Replica)]
#[case::full(Refusal::Full)]
#[case::no_set(Refusal::NoSet)]
#[case::no_key(Refusal::NoKey)]
#[case::no_script(Refusal::NoScript)]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_refuses_locks_is_left_out_and_its_reason_is_shown(#[case] refusal: Refusal) {
    let shop = Shop::plan(Backend::Postgres)
        .set("LOCK_TTL_MS", "300")
        .open()
        .await;
    let product = shop.service().product(100, json!({})).await;
    nodes_out(&shop, &[], refusal.reason()).await;

    refusal.begin(&shop.redis().0[1]).await;
    nodes_out(&shop, &[2], refusal.reason()).await;
    let (_, body) = shop.service().health().await;
    assert_eq!(body["redis"], "degraded", "{body}");
    shop.service().buy("ann", product, 1).await.success(201);
    assert_eq!(logged(&shop, refusal.reason()), 1, "{}", shop.log());

    refusal.end(&shop.redis().0[1]).await;
    nodes_out(&shop, &[], refusal.reason()).await;
    assert_eq!(logged(&shop, refusal.reason()), 1, "{}", shop.log());
    assert!(shop.log().contains("is used again"), "{}", shop.log());
}

/// Without a node that takes locks the fence decides: no buyer is told `high_demand`.
#[rstest]
#[case::replica(Refusal::Replica)]
#[case::full(Refusal::Full)]
#[case::no_set(Refusal::NoSet)]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sales_go_on_while_every_node_refuses_locks(#[case] refusal: Refusal) {
    let shop = Shop::plan(Backend::Postgres)
        .set("LOCK_TTL_MS", "300")
        .open()
        .await;
    let product = shop.service().product(100, json!({})).await;
    shop.service().buy("ann", product, 1).await.success(201);

    for node in &shop.redis().0 {
        refusal.begin(node).await;
    }
    nodes_out(&shop, &[1, 2, 3], refusal.reason()).await;
    for buyer in 0..5 {
        let buyer = format!("buyer-{buyer}");
        shop.service().buy(&buyer, product, 1).await.success(201);
    }
    let (_, body) = shop.service().health().await;
    assert_eq!([&body["status"], &body["redis"]], ["degraded", "down"]);

    for node in &shop.redis().0 {
        refusal.end(node).await;
    }
    nodes_out(&shop, &[], refusal.reason()).await;
    shop.service().buy("bob", product, 1).await.success(201);
    shop.assert_books(product).await;
}

/// Members of a Redis Cluster redirect or refuse keys, each by its own slot.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_member_of_a_cluster_is_left_out_unless_it_holds_every_key() {
    let mut shop = Shop::plan(Backend::Postgres)
        .set("LOCK_TTL_MS", "300")
        .open()
        .await;
    for node in 0..2 {
        let options = ["--cluster-enabled", "yes", "--cluster-node-timeout", "1000"];
        shop.redis_mut().0[node].restart_as(&options);
    }
    nodes_out(&shop, &[1, 2], "cluster_down").await;

    let [first, second] = [&shop.redis().0[0], &shop.redis().0[1]];
    let port = first.port().to_string();
    second
        .run::<()>(&["CLUSTER", "ADDSLOTSRANGE", "0", "16383"])
        .await;
    second
        .run::<()>(&["CLUSTER", "MEET", "127.0.0.1", &port])
        .await;
    nodes_out(&shop, &[1], "moved").await;
}

/// A node that reads its data answers every command with LOADING.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_loads_its_data_is_left_out_until_it_has_finished() {
    let mut shop = Shop::plan(Backend::Postgres)
        .set("LOCK_TTL_MS", "300")
        .open()
        .await;
    let node = &mut shop.redis_mut().0[2];
    for key in 0..400 {
        let (key, value) = (format!("large:{key}"), "x".repeat(4_000));
        node.run::<()>(&["SET", &key, &value]).await;
    }
    node.run::<()>(&["SAVE"]).await;
    node.restart_as(&[
        "--rdbcompression",
        "no",
        "--key-load-delay",
        "10000",
        "--loading-process-events-interval-bytes",
        "1024",
    ]);

    nodes_out(&shop, &[3], "loading").await;
    nodes_out(&shop, &[], "loading").await;
}

/// An alert on the metric needs every series from the start.
#[rstest]
#[case::sqlite(Backend::Sqlite)]
#[case::postgres(Backend::Postgres)]
#[tokio::test]
async fn every_reason_starts_at_zero(#[case] backend: Backend) {
    let shop = Shop::open(backend).await;

    let metrics = shop.service().metrics().await;

    for reason in REASONS {
        let labels = [("reason", reason)];
        assert!(
            metrics.shows("flash_sale_lock_nodes_out", &labels, 0),
            "{reason}"
        );
    }
}

/// A check leaves nothing behind: its key is released at once.
#[tokio::test]
async fn a_check_leaves_no_key_behind() {
    let shop = Shop::open(Backend::Postgres).await;
    let monitor = shop.redis().0[0].monitor().await;

    eventually("checks were made", SOON, async || {
        let sets = monitor.all().into_iter();
        when(sets.filter(|words| words[0] == "SET").count() >= 5)
    })
    .await;

    for words in monitor.all().iter().filter(|words| words[0] == "SET") {
        assert!(words[1].starts_with("lock:product:"), "{words:?}");
        let key = words[1].clone();
        eventually("the key is released", Duration::from_secs(1), async || {
            let released = |words: &Vec<String>| words[0] == "DEL";
            when(monitor.commands(&key).iter().any(released))
        })
        .await;
    }
    assert_eq!(shop.redis().lock_keys().await, Vec::<String>::new());
}
