//! Fairness: a node serves orders in order of arrival, and every node gets a turn.

use rstest::rstest;
use serde_json::json;
use tokio::task::JoinSet;

use crate::support::{
    SOON, eventually,
    load::{Load, door},
    rival::Rival,
    shop::{Backend, Shop},
    when,
};

/// Six buyers arrive one after the other while the lock is held; there are three units.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn orders_are_served_in_order_of_arrival() {
    let shop = Shop::plan(Backend::Postgres)
        .set("LOCK_PATIENCE_MS", "9000")
        .set("REQUEST_TIMEOUT_MS", "20000")
        .open()
        .await;
    let product = shop.service().product(3, json!({})).await;
    let rival = Rival::holds(&shop, product).await;

    let mut waiting = JoinSet::new();
    for arrival in 0..6 {
        let front = shop.service().front();
        let user = format!("user-{arrival}");
        waiting.spawn(async move { (arrival, front.buy(&user, product, 1).await) });
        shop.service().has_queued(arrival + 1).await;
    }
    rival.leaves(shop.redis()).await;

    for (arrival, answer) in waiting.join_all().await {
        if arrival < 3 {
            assert_eq!(answer.success(201)["user_id"], format!("user-{arrival}"));
        } else {
            answer.refusal(409, "sold_out");
        }
    }
}

/// Also without the Redis node of the "node is waiting" keys, while the locks keep a majority.
#[rstest]
#[case::every_redis_node_is_up(false)]
#[case::waiting_keys_are_lost(true)]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_node_gets_a_share_of_the_sales(#[case] waiting_keys_are_lost: bool) {
    // Small batches, so that orders always wait on every node.
    let plan = Shop::plan(Backend::ThreeNodes).set("ORDER_BATCH_MAX", "3");
    let mut shop = plan.open().await;
    let product = shop.service().product(1_000_000, json!({})).await;
    if waiting_keys_are_lost {
        shop.redis_mut().0[0].kill();
        eventually("all nodes exclude the killed one", SOON, async || {
            let mut excluded = true;
            for node in &shop.nodes {
                let metrics = node.metrics().await;
                excluded &= metrics.shows("flash_sale_lock_nodes_healthy", &[], 2);
            }
            when(excluded)
        })
        .await;
    }

    let doors = shop.nodes.iter().map(|node| door(node.front()));
    let loads: Vec<_> = doors
        .map(|door| Load::start(&[door], product, 10))
        .collect();
    let sold = || {
        loads
            .iter()
            .map(|load| load.told().orders.len())
            .collect::<Vec<_>>()
    };
    eventually("1,500 orders", SOON * 2, async || {
        when(sold().iter().sum::<usize>() >= 1_500)
    })
    .await;

    let shares = sold();
    let total: usize = shares.iter().sum();
    assert!(
        shares.iter().all(|share| share * 10 >= total),
        "at least a tenth each: {shares:?}"
    );
    for load in loads {
        let received = load.finish().await;
        assert_eq!(received.broken, 0, "{received:?}");
    }
    shop.assert_books(product).await;
}
