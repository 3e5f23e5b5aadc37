//! Who gets the units: the first come on a node, and no node is left behind.

use rstest::rstest;
use serde_json::json;
use tokio::task::JoinSet;

use crate::support::{
    SOON, eventually,
    load::{Load, door},
    shop::{Backend, Shop},
    when,
};

/// Six buyers arrive one after the other while the lock is taken; there are three units.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_came_first_is_served_first() {
    let shop = Shop::plan(Backend::Postgres)
        .set("LOCK_PATIENCE_MS", "9000")
        .set("REQUEST_TIMEOUT_MS", "20000")
        .open()
        .await;
    let product = shop.service().product(3, json!({})).await;
    let key = format!("lock:product:{product}:stock:3");
    shop.redis().set(&key, "somebody-else").await;

    let mut waiting = JoinSet::new();
    for place in 0..6 {
        let front = shop.service().front();
        let user = format!("user-{place}");
        waiting.spawn(async move { (place, front.buy(&user, product, 1).await) });
        shop.service().has_queued(place + 1).await;
    }
    shop.redis().delete(&key).await;

    for (place, answer) in waiting.join_all().await {
        if place < 3 {
            assert_eq!(answer.success(201)["user_id"], format!("user-{place}"));
        } else {
            answer.refusal(409, "sold_out");
        }
    }
}

/// Also without the Redis where nodes say that they wait, while the locks still have a majority.
#[rstest]
#[case::all_is_well(false)]
#[case::nobody_can_say_that_it_waits(true)]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_node_starves(#[case] hints_are_lost: bool) {
    // So that orders always wait on every node.
    let plan = Shop::plan(Backend::ThreeNodes).set("ORDER_BATCH_MAX", "3");
    let mut shop = plan.open().await;
    let product = shop.service().product(1_000_000, json!({})).await;
    if hints_are_lost {
        shop.redis_mut().0[0].kill();
        eventually("all nodes leave it out", SOON, async || {
            let mut left_out = true;
            for node in &shop.nodes {
                let metrics = node.metrics().await;
                left_out &= metrics.shows("flash_sale_lock_nodes_healthy", &[], 2);
            }
            when(left_out)
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
    let all: usize = shares.iter().sum();
    assert!(
        shares.iter().all(|share| share * 10 >= all),
        "at least a tenth each: {shares:?}"
    );
    for load in loads {
        let told = load.finish().await;
        assert_eq!(told.broken, 0, "{told:?}");
    }
    shop.assert_books(product).await;
}
