//! The limits of a lane run from the start of the request, not from its arrival in the lane.

use std::time::Instant;

use flash_sale::{
    domain::{Outcome, reference},
    sequencer::Error,
};
use rstest::rstest;
use serde_json::json;

use crate::support::{
    lanes::{REQUEST_TIMEOUT, order, sequencer},
    shop::{Backend, Shop},
};

/// A batch may take three quarters of the time-out, so one that began late would end after its
/// callers had been told that the outcome is unknown.
#[rstest]
#[case::sqlite(Backend::Sqlite)]
#[case::postgres(Backend::Postgres)]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_order_whose_request_is_old_is_not_begun(#[case] backend: Backend) {
    let shop = Shop::open(backend).await;
    let product = shop.service().product(5, json!({})).await;
    let sequencer = sequencer(&shop.database_url, reference).await;
    let old = Instant::now()
        .checked_sub(REQUEST_TIMEOUT.mul_f64(0.7))
        .unwrap();

    let refused = sequencer.place(order("ann", product), old).await;
    let placed = sequencer.place(order("bob", product), Instant::now()).await;

    assert_eq!(refused, Err(Error::Unavailable), "and nothing is written");
    assert!(matches!(placed, Ok(Outcome::Created(_))), "{placed:?}");
    assert_eq!(shop.ledger.sold(product).await, 1);
}
