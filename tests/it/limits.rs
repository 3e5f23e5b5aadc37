//! Refusals by stock, sale window, purchase limits and request rate.

use rstest::rstest;
use serde_json::json;

use crate::support::{
    SOON, eventually, in_seconds,
    race::together,
    shop::{Backend, Shop},
};

#[rstest]
#[case::sqlite(Backend::Sqlite)]
#[case::postgres(Backend::Postgres)]
#[tokio::test]
async fn stock_decides_between_sold_out_and_insufficient(#[case] backend: Backend) {
    let shop = Shop::open(backend).await;
    let service = shop.service();
    let product = service.product(5, json!({})).await;

    service.buy("ann", product, 2).await.success(201);
    let before = shop.ledger.everything().await;
    let short = service
        .buy("bob", product, 4)
        .await
        .refusal(409, "insufficient_stock");
    assert_eq!(short["available"], 3);
    assert_eq!(shop.ledger.everything().await, before);

    service.buy("bob", product, 3).await.success(201);
    let before = shop.ledger.everything().await;
    for quantity in [1, 4] {
        let none = service
            .buy("carl", product, quantity)
            .await
            .refusal(409, "sold_out");
        assert_eq!(none["waitlist"], false);
    }
    assert_eq!(shop.ledger.everything().await, before);
    shop.assert_books(product).await;
}

#[rstest]
#[case::sqlite(Backend::Sqlite)]
#[case::postgres(Backend::Postgres)]
#[tokio::test]
async fn a_sale_begins_and_ends_on_time(#[case] backend: Backend) {
    let shop = Shop::open(backend).await;
    let service = shop.service();
    let (soon, later) = (in_seconds(2), in_seconds(3600));
    let product = service
        .product(50, json!({ "starts_at": soon, "ends_at": later }))
        .await;

    let early = service
        .buy("ann", product, 1)
        .await
        .refusal(409, "not_on_sale");
    let same = |field: &str, wanted: &str| {
        let found = chrono::DateTime::parse_from_rfc3339(early[field].as_str().unwrap()).unwrap();
        let wanted = chrono::DateTime::parse_from_rfc3339(wanted).unwrap();
        assert!(
            (found - wanted).num_milliseconds().abs() <= 1,
            "{field}: {found}, not {wanted}"
        );
    };
    same("starts_at", &soon);
    same("ends_at", &later);
    assert!(shop.ledger.orders(product).await.is_empty());

    eventually("the sale begins", SOON, async || {
        let answer = service.buy("ann", product, 1).await;
        (answer.status == 201).then_some(())
    })
    .await;
    service
        .change(product, &json!({ "ends_at": in_seconds(1) }))
        .await
        .success(200);
    eventually("the sale ends", SOON, async || {
        (service.buy("bob", product, 1).await.code() == "not_on_sale").then_some(())
    })
    .await;
    shop.assert_books(product).await;
}

#[rstest]
#[case::ended(json!({ "ends_at": "2001-01-01T00:00:00Z" }))]
#[case::not_begun(json!({ "starts_at": "2101-01-01T00:00:00Z" }))]
#[tokio::test]
async fn a_product_without_stock_answers_not_on_sale_outside_the_window(
    #[case] window: serde_json::Value,
) {
    let shop = Shop::open(Backend::Sqlite).await;
    let product = shop.service().product(0, window).await;

    let refusal = shop
        .service()
        .buy("ann", product, 1)
        .await
        .refusal(409, "not_on_sale");

    assert!(
        refusal.get("starts_at").is_some() && refusal.get("ends_at").is_some(),
        "{refusal}"
    );
}

#[rstest]
#[case::sqlite(Backend::Sqlite)]
#[case::postgres(Backend::Postgres)]
#[tokio::test]
async fn an_order_has_at_most_max_per_order_units(#[case] backend: Backend) {
    let shop = Shop::open(backend).await;
    let service = shop.service();
    let usual = service.product(100, json!({})).await;
    let three = service.product(100, json!({ "max_per_order": 3 })).await;

    service.buy("ann", usual, 11).await.invalid("quantity");
    service.buy("ann", three, 4).await.invalid("quantity");
    assert!(shop.ledger.everything().await.1.is_empty());

    service.buy("ann", usual, 10).await.success(201);
    service.buy("ann", three, 3).await.success(201);
}

#[rstest]
#[case::sqlite(Backend::Sqlite)]
#[case::postgres(Backend::Postgres)]
#[tokio::test]
async fn a_user_holds_at_most_max_per_user_units(#[case] backend: Backend) {
    let shop = Shop::open(backend).await;
    let service = shop.service();
    let product = service.product(8, json!({ "max_per_user": 4 })).await;

    service.buy("ann", product, 3).await.success(201);
    let before = shop.ledger.everything().await;
    let refusal = service
        .buy("ann", product, 2)
        .await
        .refusal(409, "purchase_limit");
    assert_eq!(
        (&refusal["limit"], &refusal["held"]),
        (&json!(4), &json!(3))
    );
    assert_eq!(shop.ledger.everything().await, before);

    service.buy("ann", product, 1).await.success(201);
    service.buy("bob", product, 4).await.success(201);
    // Checked before the stock: ann could not buy more from any stock.
    let refusal = service
        .buy("ann", product, 1)
        .await
        .refusal(409, "purchase_limit");
    assert_eq!(
        (&refusal["limit"], &refusal["held"]),
        (&json!(4), &json!(4))
    );
    service
        .buy("carl", product, 1)
        .await
        .refusal(409, "sold_out");
    shop.assert_books(product).await;
}

#[rstest]
#[case::sqlite(Backend::Sqlite)]
#[case::postgres(Backend::Postgres)]
#[case::three_nodes(Backend::ThreeNodes)]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hundred_requests_of_one_user_stay_within_the_limit(#[case] backend: Backend) {
    let shop = Shop::open(backend).await;
    let product = shop
        .service()
        .product(1_000, json!({ "max_per_user": 5 }))
        .await;

    let nodes = shop.nodes.iter().cycle().take(100);
    let answers = together(nodes.map(|node| node.order("ann", product, 1)).collect()).await;

    let bought = answers.iter().filter(|answer| answer.status == 201).count();
    let limited = answers
        .iter()
        .filter(|answer| answer.code() == "purchase_limit")
        .count();
    let busy = answers
        .iter()
        .filter(|answer| answer.code() == "high_demand")
        .count();
    assert_eq!(bought + limited + busy, 100, "{answers:?}");
    assert!(
        bought == 5 || (bought < 5 && busy > 0),
        "{bought} bought, {busy} busy"
    );
    assert_eq!(
        shop.ledger.sold(product).await,
        i64::try_from(bought).unwrap()
    );
    shop.assert_books(product).await;
}

#[rstest]
#[case::sqlite(Backend::Sqlite)]
#[case::postgres(Backend::Postgres)]
#[tokio::test]
async fn the_rate_limit_applies_to_each_user_alone(#[case] backend: Backend) {
    let shop = Shop::plan(backend)
        .set("RATE_LIMIT_PER_MINUTE", "5")
        .open()
        .await;
    let service = shop.service();
    let product = service.product(100, json!({})).await;

    for _ in 0..5 {
        service.buy("ann", product, 1).await.success(201);
    }
    let answer = service.buy("ann", product, 1).await;
    answer.refusal(429, "rate_limited");
    assert!(answer.retry_after() <= 60, "{answer:?}");
    let named = |name: &reqwest::header::HeaderName| name.as_str().starts_with("ratelimit-");
    assert!(answer.headers.keys().any(named), "{answer:?}");
    assert_eq!(shop.ledger.sold(product).await, 5);

    // Checked after the body and before the product.
    service.buy("ann", product, 0).await.invalid("quantity");
    service
        .buy("ann", uuid::Uuid::now_v7(), 1)
        .await
        .refusal(429, "rate_limited");
    service.buy("bob", product, 1).await.success(201);
    service.get("/products").send().await.success(200);
    let limited = service
        .metrics()
        .await
        .value("flash_sale_rate_limited_total", &[]);
    assert_eq!(limited, Some(2.0));
}
