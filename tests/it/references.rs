//! Order references: where one exists, its order gets another, and the rest of the batch stays.

use std::{collections::HashMap, time::Instant};

use flash_sale::domain::Outcome;
use futures::future::join_all;
use rstest::rstest;
use serde_json::json;

use crate::support::{
    lanes::{order, sequencer},
    shop::{Backend, Shop},
};

/// References that there are, for half as many orders: a batch of a few dozen orders practically
/// never draws free ones only.
const REFERENCES: u32 = 128;
const ORDERS: usize = 64;

fn draw_one_of_few() -> String {
    format!("FS-{:012}", rand::random_range(0..REFERENCES))
}

#[rstest]
#[case::sqlite(Backend::Sqlite)]
#[case::postgres(Backend::Postgres)]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_order_whose_reference_exists_gets_another_one(#[case] backend: Backend) {
    let shop = Shop::open(backend).await;
    let product = shop.service().product(100, json!({})).await;
    let sequencer = sequencer(&shop.database_url, draw_one_of_few).await;

    let requests = (0..ORDERS).map(|number| order(&format!("user-{number}"), product));
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
