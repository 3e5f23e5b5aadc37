//! Refusals that do not depend on stock or time: statuses, codes and members of the contract.

use reqwest::Method;
use rstest::rstest;
use serde_json::json;
use uuid::Uuid;

use crate::support::{
    front::Front,
    http::{Answer, Call},
    shop::{Backend, Shop},
    tokens,
};

const BODY_LIMIT: usize = 16 * 1024;

/// A call to `POST /orders` with every fault that is checked at this step and after it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Step {
    TooLarge,
    NotJson,
    NoToken,
    Malformed,
    Invalid,
    UnknownProduct,
}

impl Step {
    const ALL: [Self; 6] = [
        Self::TooLarge,
        Self::NotJson,
        Self::NoToken,
        Self::Malformed,
        Self::Invalid,
        Self::UnknownProduct,
    ];

    /// A call with this fault and every later one that one call can combine with it.
    fn call(self, front: &Front) -> Call {
        let valid = json!({ "product_id": Uuid::now_v7(), "quantity": 1 }).to_string();
        let body = match self {
            Self::TooLarge => "x".repeat(BODY_LIMIT + 1),
            Self::NotJson | Self::NoToken | Self::Malformed => "{".to_owned(),
            Self::Invalid => valid.replace(":1", ":0"),
            Self::UnknownProduct => valid,
        };
        let call = front.post("/orders");
        match self {
            Self::TooLarge | Self::NotJson => call.header("content-type", "text/plain").bare(body),
            Self::NoToken => call.body(body),
            Self::Malformed | Self::Invalid | Self::UnknownProduct => {
                call.bearer(&tokens::user("ann")).body(body)
            }
        }
    }

    fn assert_refusal(self, answer: &Answer) {
        match self {
            Self::TooLarge => {
                let body = answer.refusal(413, "payload_too_large");
                assert_eq!(body["limit"], BODY_LIMIT);
            }
            Self::NotJson => {
                answer.refusal(415, "unsupported_media_type");
            }
            Self::NoToken => {
                answer.refusal(401, "unauthenticated");
                let scheme = answer.header("www-authenticate").unwrap();
                assert!(scheme.starts_with("Bearer"), "{scheme}");
            }
            Self::Malformed => {
                answer.refusal(400, "malformed_json");
            }
            Self::Invalid => answer.invalid("quantity"),
            Self::UnknownProduct => {
                answer.refusal(404, "product_not_found");
            }
        }
    }
}

#[rstest]
#[case::sqlite(Backend::Sqlite)]
#[case::postgres(Backend::Postgres)]
#[tokio::test]
async fn refusals_come_in_the_documented_order(#[case] backend: Backend) {
    let shop = Shop::open(backend).await;
    shop.service().product(5, json!({})).await;
    let before = shop.ledger.everything().await;

    for step in Step::ALL {
        let answer = step.call(shop.service()).send().await;
        step.assert_refusal(&answer);
    }

    assert_eq!(shop.ledger.everything().await, before);
}

#[tokio::test]
async fn a_body_of_exactly_the_limit_is_read() {
    let shop = Shop::open(Backend::Sqlite).await;
    let product = shop.service().product(5, json!({})).await;
    let order = json!({ "product_id": product, "quantity": 1 }).to_string();
    let padded = |length: usize| format!("{}{order}", " ".repeat(length - order.len()));
    let post = |body: String| {
        shop.service()
            .post("/orders")
            .bearer(&tokens::user("ann"))
            .body(body)
    };

    let over = post(padded(BODY_LIMIT + 1)).send().await;
    over.refusal(413, "payload_too_large");
    assert!(shop.ledger.orders(product).await.is_empty());

    post(padded(BODY_LIMIT)).send().await.success(201);
}

/// A client that still sends when the connection closes would see a broken pipe instead.
#[tokio::test]
async fn a_body_somewhat_over_the_limit_is_refused_and_not_cut_off() {
    let shop = Shop::open(Backend::Sqlite).await;
    for _ in 0..100 {
        let call = shop.service().post("/orders").bearer(&tokens::user("ann"));
        let answer = call.body("x".repeat(3 * BODY_LIMIT)).send().await;
        answer.refusal(413, "payload_too_large");
    }
}

/// Without a `Content-Length`, only reading the body shows its length.
#[tokio::test]
async fn a_streamed_body_over_the_limit_is_refused() {
    let shop = Shop::open(Backend::Sqlite).await;
    let chunks = (0..20).map(|_| Ok::<_, std::io::Error>(vec![b' '; 1024]));
    let body = reqwest::Body::wrap_stream(futures::stream::iter(chunks));

    let call = shop
        .service()
        .post("/orders")
        .bearer(&tokens::user("ann"))
        .body(body);

    call.send().await.refusal(413, "payload_too_large");
}

#[rstest]
#[case::with_charset("application/json; charset=utf-8", 201)]
#[case::in_capitals("Application/JSON", 201)]
#[case::form("application/x-www-form-urlencoded", 415)]
#[case::almost("application/jsonp", 415)]
#[case::nonsense("json", 415)]
#[tokio::test]
async fn only_json_is_a_supported_media_type(#[case] kind: &str, #[case] status: u16) {
    let shop = Shop::open(Backend::Sqlite).await;
    let product = shop.service().product(5, json!({})).await;
    let body = json!({ "product_id": product, "quantity": 1 }).to_string();

    let call = shop.service().post("/orders").bearer(&tokens::user("ann"));
    let answer = call
        .header("content-type", kind)
        .bare(body.clone())
        .send()
        .await;

    assert_eq!(answer.status, status, "{answer:?}");
    let call = shop.service().post("/orders").bearer(&tokens::user("ann"));
    call.bare(body)
        .send()
        .await
        .refusal(415, "unsupported_media_type");
}

#[tokio::test]
async fn unknown_paths_and_methods_are_problems_too() {
    let shop = Shop::open(Backend::Sqlite).await;
    let service = shop.service();

    for path in [
        "/",
        "/nothing",
        "/orders/a/b/c",
        "/products/",
        "/%00",
        "/%ff",
        "/../etc/passwd",
    ] {
        let answer = service.get(path).send().await;
        assert_eq!(answer.status, 404, "{path}: {answer:?}");
        answer.problem();
    }
    for (method, path) in [
        (Method::DELETE, "/orders".to_owned()),
        (Method::PUT, "/products".to_owned()),
        (Method::POST, "/health".to_owned()),
        (Method::PUT, format!("/products/{}", Uuid::now_v7())),
        (Method::PATCH, format!("/orders/{}", Uuid::now_v7())),
        (
            Method::POST,
            format!("/products/{}/availability", Uuid::now_v7()),
        ),
    ] {
        let answer = service.call(method, &path).send().await;
        assert_eq!(answer.status, 405, "{path}: {answer:?}");
        answer.problem();
        assert!(
            answer
                .header("allow")
                .is_some_and(|allow| !allow.is_empty()),
            "{answer:?}"
        );
    }
}

#[tokio::test]
async fn a_malformed_id_is_not_found() {
    let shop = Shop::open(Backend::Sqlite).await;
    let service = shop.service();
    let (user, admin) = (tokens::user("ann"), tokens::admin());

    for id in [
        "1",
        "abc",
        "%00",
        "%ff",
        "00000000-0000-0000-0000-00000000000g",
        "'--",
    ] {
        let order = service
            .get(&format!("/orders/{id}"))
            .bearer(&user)
            .send()
            .await;
        order.refusal(404, "order_not_found");
        for tail in ["", "/availability", "/events"] {
            let product = service.get(&format!("/products/{id}{tail}")).send().await;
            product.refusal(404, "product_not_found");
        }
        let patch = service.patch(&format!("/products/{id}")).bearer(&admin);
        patch
            .json(&json!({ "name": "x" }))
            .send()
            .await
            .refusal(404, "product_not_found");
        let restock = service
            .post(&format!("/products/{id}/restock"))
            .bearer(&admin);
        restock
            .json(&json!({ "quantity": 1 }))
            .send()
            .await
            .refusal(404, "product_not_found");
    }
}

#[tokio::test]
async fn every_answer_has_a_request_id_of_its_own() {
    let shop = Shop::open(Backend::Sqlite).await;
    let mut seen = std::collections::BTreeSet::new();

    for path in [
        "/health",
        "/health/live",
        "/products",
        "/nothing",
        "/orders",
        "/health",
    ] {
        let answer = shop.service().get(path).send().await;
        assert!(
            seen.insert(answer.header("x-request-id").unwrap().to_owned()),
            "{path}"
        );
    }
}
