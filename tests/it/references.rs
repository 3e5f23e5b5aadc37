//! Order references: where one exists, its order gets another, and the rest of the batch stays.

use std::{
    collections::HashMap,
    sync::Arc,
    time::{Duration, Instant},
};

use flash_sale::{
    domain::{OrderId, OrderRequest, Outcome},
    lock::Lock,
    sequencer::{LaneBounds, Parts, Sequencer},
    stock_events::StockEvents,
    store::{Store, Url},
    tasks::Tasks,
    user_events::UserEvents,
};
use futures::future::join_all;
use rstest::rstest;
use serde_json::json;

use crate::support::shop::{Backend, Shop};

/// References that there are, for half as many orders: a batch of a few dozen orders practically
/// never draws free ones only.
const REFERENCES: u32 = 128;
const ORDERS: usize = 64;

fn draw_one_of_few() -> String {
    format!("FS-{:012}", rand::random_range(0..REFERENCES))
}

async fn sequencer(database_url: &str) -> Sequencer {
    let tasks = Tasks::default();
    let parts = Parts {
        store: Store::connect(&Url::new(database_url), 4).await.unwrap(),
        lock: Lock::local(Duration::from_secs(2)),
        stock_events: StockEvents::new(None, &tasks),
        user_events: UserEvents::new(None, &tasks),
        redis: None,
        tasks,
        draw_reference: draw_one_of_few,
    };
    let bounds = LaneBounds {
        batch_max: 32,
        queue_max: 1_000,
        patience: Duration::from_secs(5),
        request_timeout: Duration::from_secs(30),
    };
    Sequencer::new(parts, bounds)
}

#[rstest]
#[case::sqlite(Backend::Sqlite)]
#[case::postgres(Backend::Postgres)]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_order_whose_reference_exists_gets_another_one(#[case] backend: Backend) {
    let shop = Shop::open(backend).await;
    let product = shop.service().product(100, json!({})).await;
    let sequencer = sequencer(&shop.database_url).await;

    let requests = (0..ORDERS).map(|number| OrderRequest {
        order_id: OrderId::now_v7(),
        product_id: product,
        user_id: Arc::from(format!("user-{number}")),
        quantity: 1,
        waitlist: false,
        key: None,
    });
    let placed = requests.map(|request| sequencer.place(request, Instant::now()));
    let mut answered = HashMap::new();
    for outcome in join_all(placed).await {
        let Ok(Outcome::Created(order)) = outcome else {
            panic!("{outcome:?}");
        };
        answered.insert(order.id, order.reference);
    }

    let rows = shop.ledger.orders(product).await;
    let written: HashMap<_, _> = rows
        .into_iter()
        .map(|row| (row.id, row.reference))
        .collect();
    assert_eq!(answered, written, "the buyers know their references");
    assert_eq!(written.len(), ORDERS);
    shop.assert_books(product).await;
}
