//! Boundary values of products (stock, price, times): stored exactly or refused, never wrapped.

use rstest::rstest;
use serde_json::json;

use crate::support::{
    front::product_body,
    shop::{Backend, Shop},
};

#[rstest]
#[case::sqlite(Backend::Sqlite)]
#[case::postgres(Backend::Postgres)]
#[tokio::test]
async fn a_restock_that_would_overflow_is_refused(#[case] backend: Backend) {
    let shop = Shop::open(backend).await;
    let service = shop.service();
    let product = service.product(1, json!({})).await;

    let mut refused = 0;
    for _ in 0..3 {
        let before = shop.ledger.product(product).await;
        let answer = service.restock(product, 2_147_483_647).await;
        if answer.status != 200 {
            assert!((400..500).contains(&answer.status), "{answer:?}");
            answer.problem();
            assert_eq!(shop.ledger.product(product).await, before);
            refused += 1;
        }
    }

    assert_eq!(
        refused, 3,
        "1 + 2,147,483,647 units are more than the column holds"
    );
    service.buy("ann", product, 1).await.success(201);
    shop.assert_books(product).await;
}

/// The largest accepted price and quantity give a total that does not wrap.
#[rstest]
#[case::sqlite(Backend::Sqlite)]
#[case::postgres(Backend::Postgres)]
#[tokio::test]
async fn a_large_total_is_exact_or_refused(#[case] backend: Backend) {
    let shop = Shop::open(backend).await;
    let mut sold = 0;

    for price in [
        i64::MAX / 2,
        1 << 53,
        1 << 40,
        1_000_000_000_000,
        1 << 32,
        0,
    ] {
        let more = json!({ "price": price, "max_per_order": 1_000 });
        let created = shop.service().create(&product_body(1_000, more)).await;
        if created.status == 422 {
            created.problem();
            continue;
        }
        let id = created.success(201)["id"]
            .as_str()
            .unwrap()
            .parse()
            .unwrap();
        let order = shop.service().buy("ann", id, 1_000).await.success(201);
        assert_eq!(order["total"].as_i64(), price.checked_mul(1_000), "{order}");
        sold += 1;
    }

    assert!(
        sold >= 2,
        "a free product and one for 43 million currency units are valid"
    );
}

#[rstest]
#[case::sqlite(Backend::Sqlite)]
#[case::postgres(Backend::Postgres)]
#[tokio::test]
async fn a_sale_that_ends_before_it_starts_is_refused(#[case] backend: Backend) {
    let shop = Shop::open(backend).await;
    let service = shop.service();
    let (first, second) = ("2030-01-01T00:00:00Z", "2030-01-02T00:00:00Z");

    let backwards = json!({ "starts_at": second, "ends_at": first });
    service
        .create(&product_body(5, backwards))
        .await
        .refusal(422, "invalid_request");
    assert!(shop.ledger.everything().await.0.is_empty());

    let product = service.product(5, json!({ "starts_at": second })).await;
    let before = shop.ledger.everything().await;
    let change = service.change(product, &json!({ "ends_at": first })).await;
    change.refusal(422, "invalid_request");
    assert_eq!(shop.ledger.everything().await, before);
}

/// Times at the limits of clocks, calendars and columns.
#[rstest]
#[case::sqlite(Backend::Sqlite)]
#[case::postgres(Backend::Postgres)]
#[tokio::test]
async fn extreme_times_cause_no_server_error(#[case] backend: Backend) {
    let shop = Shop::open(backend).await;
    let service = shop.service();

    for time in [
        "0000-01-01T00:00:00Z",
        "0001-01-01T00:00:00+23:59",
        "1970-01-01T00:00:00Z",
        "9999-12-31T23:59:59.999999999Z",
        "9999-12-31T23:59:59-23:59",
        "2016-12-31T23:59:60Z",
        "+262142-12-31T23:59:59Z",
        "-262143-01-01T00:00:00Z",
        "+10000-01-01T00:00:00Z",
    ] {
        for field in ["starts_at", "ends_at"] {
            let answer = service
                .create(&product_body(5, json!({ field: time })))
                .await;
            assert!(
                [201, 422].contains(&answer.status),
                "{field} = {time}: {answer:?}"
            );
            if answer.status == 201 {
                let id = answer.json()["id"].as_str().unwrap().parse().unwrap();
                let bought = service.buy("ann", id, 1).await;
                assert!(
                    [201, 409].contains(&bought.status),
                    "{field} = {time}: {bought:?}"
                );
                let read = service.get(&format!("/products/{id}")).send().await;
                read.success(200);
            }
        }
    }
}
