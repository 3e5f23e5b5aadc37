//! A restock with a negative quantity takes units away, never those that orders hold.

use rstest::rstest;
use serde_json::json;

use crate::support::{
    race::together,
    shop::{Backend, Shop},
    tokens,
};

#[rstest]
#[case::sqlite(Backend::Sqlite)]
#[case::postgres(Backend::Postgres)]
#[tokio::test]
async fn units_that_no_order_holds_can_be_withdrawn(#[case] backend: Backend) {
    let shop = Shop::open(backend).await;
    let service = shop.service();
    let product = service.product(10, json!({})).await;
    service.buy("ann", product, 4).await.success(201);

    let refused = service.restock(product, -7).await;
    let problem = refused.refusal(409, "insufficient_stock");
    assert_eq!(problem["available"], 6);
    let left = service.restock(product, -2).await.success(200);
    assert_eq!(
        (&left["stock"], &left["stock_total"]),
        (&json!(4), &json!(8))
    );
    let left = service.restock(product, -4).await.success(200);
    assert_eq!(
        (&left["stock"], &left["stock_total"]),
        (&json!(0), &json!(4))
    );
    service
        .buy("bob", product, 1)
        .await
        .refusal(409, "sold_out");
    let refused = service.restock(product, -1).await;
    assert_eq!(
        refused.refusal(409, "insufficient_stock")["available"],
        json!(0)
    );

    let rows = shop.ledger.audit().await;
    let last = rows.last().unwrap();
    assert_eq!(
        last.after.as_deref(),
        Some(r#"{"stock":0,"stock_total":4}"#)
    );
    service.restock(product, 1).await.success(200);
    service.buy("bob", product, 1).await.success(201);
    shop.assert_books(product).await;
}

/// Reserved units may be withdrawn too; the place that waits for them keeps waiting.
#[rstest]
#[case::sqlite(Backend::Sqlite)]
#[case::postgres(Backend::Postgres)]
#[tokio::test]
async fn a_withdrawal_leaves_the_waitlist_waiting(#[case] backend: Backend) {
    let shop = Shop::open(backend).await;
    let service = shop.service();
    let product = service.sold_out().await;
    assert_eq!(service.join("bob", product, 3).await, 1);
    let restocked = service.restock(product, 2).await.success(200);
    assert_eq!(restocked["stock_reserved"], 2);

    let left = service.restock(product, -1).await.success(200);
    assert_eq!(
        (&left["stock"], &left["stock_reserved"]),
        (&json!(1), &json!(1))
    );
    assert_eq!(service.position("bob", product).await, Some(1));
    shop.assert_books(product).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn withdrawals_and_orders_never_take_the_same_unit() {
    let plan = Shop::plan(Backend::Postgres).nodes(2);
    let shop = plan.patient().open().await;
    let product = shop.service().product(20, json!({})).await;
    let path = format!("/products/{product}/restock");
    let calls = (0..48).map(|call| {
        let node = &shop.nodes[call % 2];
        if call % 3 == 0 {
            let withdraw = node.post(&path).bearer(&tokens::admin());
            return withdraw.json(&json!({ "quantity": -1 }));
        }
        node.order(&format!("buyer-{call}"), product, 1)
    });

    let answers = together(calls.collect()).await;

    let of = |status: u16| answers.iter().filter(move |it| it.status == status).count();
    let product_after = shop.ledger.product(product).await;
    assert_eq!((of(200) + of(201), product_after.stock), (20, 0));
    assert_eq!(
        shop.ledger.sold(product).await,
        i64::try_from(of(201)).unwrap()
    );
    shop.assert_books(product).await;
}
