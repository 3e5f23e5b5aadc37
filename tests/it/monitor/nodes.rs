//! Each node shows all nodes, and nothing is published while nobody watches.

use serde_json::{Value, json};

use crate::support::{
    SOON,
    events::Events,
    eventually,
    redis::Monitor,
    shop::{Backend, Shop},
    when,
};

use super::operations;

const CHANNEL: &str = "flash-sale:monitor";

#[tokio::test]
async fn a_node_shows_all_nodes_while_somebody_watches() {
    let mut shop = Shop::plan(Backend::ThreeNodes).open().await;
    let product = shop.service().product(10, json!({ "sku": "seat" })).await;
    for (node, buyer) in shop.nodes.iter().zip(["ann", "bob", "cid"]) {
        node.buy(buyer, product, 1).await.success(201);
    }
    let mut monitors = Vec::new();
    for redis in &shop.redis().0 {
        monitors.push(redis.monitor().await);
    }
    let published = || {
        let commands = monitors.iter().flat_map(Monitor::all);
        let reports = commands.filter(|words| {
            words[0].eq_ignore_ascii_case("PUBLISH") && words.get(1).is_some_and(|to| to == CHANNEL)
        });
        reports.count()
    };
    // The health checks of the lock go on: so many commands are some seconds of all nodes.
    let seen = || -> usize { monitors.iter().map(|monitor| monitor.all().len()).sum() };
    let time_passes = async || {
        let commands = seen();
        eventually("time passes", SOON, async || when(seen() > commands + 400)).await;
    };
    shop.service().buy("dan", product, 1).await.success(201);
    time_passes().await;
    assert_eq!(published(), 0, "nobody watches");

    let mut viewer = Events::open(operations(&shop).get("/monitor/events")).await;
    let all = |kind: &str, data: &Value| {
        let created = |drop: &Value| drop["orders"]["total"] == 4 && drop["sold"] == 4;
        kind == "snapshot"
            && data["nodes"].as_array().unwrap().len() == 3
            && data["orders"]["total"] == 4
            && data["drops"].as_array().unwrap().iter().any(created)
    };
    viewer.until(all, SOON).await;
    eventually("all nodes publish", SOON, async || when(published() >= 3)).await;

    shop.nodes[2].process.kill();
    let one_is_silent = |_: &str, data: &Value| {
        let nodes = data["nodes"].as_array();
        let silent = nodes.into_iter().flatten();
        silent
            .filter(|node| node["silent_seconds"].is_u64())
            .count()
            == 1
    };
    viewer.until(one_is_silent, SOON).await;

    drop(viewer);
    eventually("nothing more is published", SOON, async || {
        let reports = published();
        time_passes().await;
        when(published() == reports)
    })
    .await;
}
