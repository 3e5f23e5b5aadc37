//! Faults of the embedded SQLite database: another process may lock its file.

use std::time::{Duration, Instant};

use serde_json::json;

use crate::support::{
    SOON, eventually,
    shop::{Backend, Shop},
};

/// Another process holds the file's write lock: orders are refused in time and sell afterwards.
#[tokio::test]
async fn a_locked_file_blocks_no_order() {
    let shop = Shop::open(Backend::Sqlite).await;
    let service = shop.service();
    let product = service.product(5, json!({})).await;
    shop.ledger.execute("BEGIN IMMEDIATE").await;

    let begun = Instant::now();
    let refused = service.order("ann", product, 1).key("k").send().await;
    assert!(
        begun.elapsed() < Duration::from_millis(5_700),
        "{:?}",
        begun.elapsed()
    );
    refused.refusal(503, "unavailable");
    refused.retry_after();
    service
        .get(&format!("/products/{product}"))
        .send()
        .await
        .success(200);
    shop.ledger.execute("ROLLBACK").await;

    let bought = eventually("the service sells again", SOON, async || {
        let answer = service.order("ann", product, 1).key("k").send().await;
        (answer.status == 201).then_some(answer)
    })
    .await;
    assert_eq!(
        bought.header("idempotency-replayed"),
        None,
        "the refused order was not written"
    );
    shop.assert_books(product).await;
}
