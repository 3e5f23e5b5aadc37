//! The embedded database is a file, and others may be at it too.

use std::time::{Duration, Instant};

use serde_json::json;

use crate::support::{
    SOON, eventually,
    shop::{Backend, Shop},
};

/// Somebody holds the file's write lock: orders are refused in time, and go on afterwards.
#[tokio::test]
async fn a_locked_file_hangs_no_order() {
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

    let bought = eventually("it sells again", SOON, async || {
        let answer = service.order("ann", product, 1).key("k").send().await;
        (answer.status == 201).then_some(answer)
    })
    .await;
    assert_eq!(
        bought.header("idempotency-replayed"),
        None,
        "what was refused was not written"
    );
    shop.assert_books(product).await;
}
