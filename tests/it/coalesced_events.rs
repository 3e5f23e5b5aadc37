//! Stock events that wait to be published: one of each product reaches the other nodes.

use flash_sale::{
    domain::{ProductId, Secret},
    redis::Redis,
    stock_events::{StockEvent, StockEvents},
    tasks::Tasks,
};
use fred::interfaces::ClientLike;

use crate::support::{SOON, eventually, redis::Nodes, when};

const PRODUCTS: usize = 5;
const VERSIONS: i64 = 100;

/// On one thread, so that the publisher runs when all events are there.
#[tokio::test]
async fn waiting_events_are_coalesced_by_product() {
    let nodes = Nodes::start(1).await;
    let node = &nodes.0[0];
    let tasks = Tasks::default();
    let redis = Redis::connect(&Secret::new(node.url())).unwrap();
    let events = StockEvents::new(Some(&redis), &tasks);
    eventually("Redis is connected", SOON, async || {
        when(redis.commands.is_connected() && events.connected_since().is_some())
    })
    .await;
    let monitor = node.monitor().await;

    let products = [(); PRODUCTS].map(|()| ProductId::now_v7());
    for version in 1..=VERSIONS {
        for product_id in products {
            events.publish(StockEvent {
                product_id,
                for_sale: 7,
                version,
                hidden: false,
            });
        }
    }

    let published = || {
        let commands = monitor.all().into_iter();
        let texts = commands.filter_map(|words| {
            let is_publish = words[0].eq_ignore_ascii_case("PUBLISH");
            is_publish.then(|| words[2].clone())
        });
        texts.collect::<Vec<_>>()
    };
    eventually(
        "every product's newest event is published",
        SOON,
        async || {
            let newest = format!("\"version\":{VERSIONS}");
            let texts = published();
            when(products.iter().all(|product| {
                let product = product.to_string();
                let of_product = |text: &&String| text.contains(&product);
                texts
                    .iter()
                    .find(of_product)
                    .is_some_and(|text| text.contains(&newest))
            }))
        },
    )
    .await;
    assert_eq!(published().len(), PRODUCTS, "{:?}", published());
    redis.close().await;
}
