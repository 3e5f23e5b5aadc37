//! Invalid query strings of `GET /orders` and `GET /products`: never a server error.

use rstest::rstest;
use serde_json::json;

use crate::support::{
    shop::{Backend, Shop},
    tokens,
};

const QUERIES: &[(&str, &str)] = &[
    ("limit", "limit=0"),
    ("limit", "limit=-1"),
    ("limit", "limit=abc"),
    ("limit", "limit=1.5"),
    ("limit", "limit=99999999999999999999"),
    ("limit", "limit=%00"),
    ("cursor", "cursor=nope"),
    ("cursor", "cursor=%00"),
    ("cursor", "cursor=%F0%9F%8E%81"),
    (
        "cursor",
        "cursor=AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA",
    ),
    ("cursor", "cursor=';%20DROP%20TABLE%20orders;%20--"),
];

const ORDER_QUERIES: &[(&str, &str)] = &[
    ("status", "status=nope"),
    ("status", "status=CONFIRMED%00"),
    ("product_id", "product_id=nope"),
    ("product_id", "product_id=%00"),
];

#[rstest]
#[case::sqlite(Backend::Sqlite)]
#[case::postgres(Backend::Postgres)]
#[tokio::test]
async fn an_invalid_query_parameter_is_named(#[case] backend: Backend) {
    let shop = Shop::open(backend).await;
    let service = shop.service();
    let product = service.product(5, json!({})).await;
    service.buy("ann", product, 1).await.success(201);

    for (field, query) in QUERIES.iter().chain(ORDER_QUERIES) {
        let call = service
            .get(&format!("/orders?{query}"))
            .bearer(&tokens::user("ann"));
        let answer = call.send().await;
        assert_eq!(answer.status, 422, "/orders?{query}: {answer:?}");
        answer.invalid(field);
    }
    for (field, query) in QUERIES {
        let answer = service.get(&format!("/products?{query}")).send().await;
        assert_eq!(answer.status, 422, "/products?{query}: {answer:?}");
        answer.invalid(field);
    }
}

/// A misspelt filter would answer with more than was asked for.
#[tokio::test]
async fn unknown_query_parameters_are_refused_by_name() {
    let shop = Shop::open(Backend::Sqlite).await;
    let service = shop.service();
    let product = service.product(1, json!({})).await;
    let order = json!({ "product_id": product, "quantity": 1 });
    let ann = tokens::user("ann");

    for call in [
        service.get("/orders?product=1").bearer(&ann),
        service.get("/orders?limit=5&product=1").bearer(&ann),
        service.get("/products?product=1"),
        service.get(&format!("/products/{product}?product=1")),
        service.get("/health/live?product=1"),
        service.post("/orders?product=1").bearer(&ann).json(&order),
    ] {
        let problem = call.send().await.refusal(422, "invalid_request");
        let errors = problem["errors"].as_array().unwrap();
        assert_eq!(errors.len(), 1, "{problem}");
        assert_eq!(errors[0]["field"], "product", "{problem}");
    }
    let left = service.get(&format!("/products/{product}")).send().await;
    assert_eq!(left.success(200)["stock"], 1);
    service
        .get("/orders?")
        .bearer(&ann)
        .send()
        .await
        .success(200);
    assert_eq!(service.get("/docs?x=1").send().await.status, 200);
}

/// The contract does not define these queries: they may be refused, but not with a server error.
#[tokio::test]
async fn undefined_queries_cause_no_server_error() {
    let shop = Shop::open(Backend::Sqlite).await;
    let long = format!("cursor={}", "A".repeat(8_000));

    for query in [
        "limit=5&limit=6",
        "%ff=%ff",
        "limit=%ff",
        "&&==&",
        "x=1",
        "limit=1000000",
        "limit=",
        "status=",
        "product_id=",
        "cursor=",
        &long,
    ] {
        for path in ["/orders", "/products"] {
            let call = shop
                .service()
                .get(&format!("{path}?{query}"))
                .bearer(&tokens::user("ann"));
            let answer = call.send().await;
            assert!(
                [200, 400, 422].contains(&answer.status),
                "{path}?{query:.40}: {answer:?}"
            );
        }
    }
}

/// A refusal costs the service no more than its request.
#[tokio::test]
async fn a_refusal_is_small_however_long_the_names_are() {
    let shop = Shop::open(Backend::Sqlite).await;
    let service = shop.service();
    let flood = format!("/products?{}", "a&".repeat(16_000));
    let long = format!("/products?{}", "a".repeat(30_000));
    let mut body = json!({ "quantity": 1 });
    body["b".repeat(10_000)] = json!(1);
    let body = service
        .post("/orders")
        .bearer(&tokens::user("ann"))
        .json(&body);

    for call in [service.get(&flood), service.get(&long), body] {
        let answer = call.send().await;
        answer.refusal(422, "invalid_request");
        assert!(answer.body.len() < 2_048, "{} bytes", answer.body.len());
    }
}

/// An empty value is a script's variable that was not set: it would find everything, or nothing.
#[tokio::test]
async fn an_empty_value_of_a_query_parameter_is_refused() {
    let shop = Shop::open(Backend::Sqlite).await;
    let service = shop.service();
    let admin = tokens::admin();
    for (path, names) in [
        ("/products", &["limit", "cursor"][..]),
        (
            "/orders",
            &[
                "limit",
                "cursor",
                "product_id",
                "status",
                "user_id",
                "created_after",
                "created_before",
            ],
        ),
        (
            "/audit",
            &[
                "limit",
                "cursor",
                "actor",
                "target",
                "created_after",
                "created_before",
            ],
        ),
    ] {
        for name in names {
            let call = service.get(&format!("{path}?{name}=")).bearer(&admin);
            call.send().await.invalid(name);
        }
    }
}
