//! Invalid bodies and headers of `POST /orders`: 4xx, never 5xx, and nothing is written.

use rstest::rstest;
use serde_json::{Value, json};
use uuid::Uuid;

use crate::support::{
    front::Front,
    http::Answer,
    shop::{Backend, Shop},
    tokens,
};

async fn send(front: &Front, body: impl Into<reqwest::Body>) -> Answer {
    front
        .post("/orders")
        .bearer(&tokens::user("ann"))
        .body(body)
        .send()
        .await
}

/// Invalid quantities, as JSON text.
const QUANTITIES: &[&str] = &[
    "0",
    "-1",
    "-0",
    "1.5",
    "\"1\"",
    "null",
    "true",
    "[]",
    "[1]",
    "{}",
    "\"\"",
    "11",
    "2147483647",
    "2147483648",
    "-2147483648",
    "-2147483649",
    "4294967295",
    "4294967296",
    "4294967297",
    "9223372036854775807",
    "9223372036854775808",
    "-9223372036854775808",
    "-9223372036854775809",
    "18446744073709551615",
    "18446744073709551616",
    "340282366920938463463374607431768211456",
    "1e2",
    "1e-1",
    "1e308",
];

#[rstest]
#[case::sqlite(Backend::Sqlite)]
#[case::postgres(Backend::Postgres)]
#[tokio::test]
async fn a_quantity_that_is_not_a_whole_number_in_range_is_invalid(#[case] backend: Backend) {
    let shop = Shop::open(backend).await;
    let product = shop.service().product(5, json!({})).await;
    let before = shop.ledger.everything().await;

    for quantity in QUANTITIES {
        let body = format!(r#"{{"product_id":"{product}","quantity":{quantity}}}"#);
        send(shop.service(), body).await.invalid("quantity");
    }

    assert_eq!(shop.ledger.everything().await, before);
    shop.service().buy("ann", product, 1).await.success(201);
}

/// The invalid field and the whole body.
fn invalid_bodies(product: Uuid) -> Vec<(&'static str, Value)> {
    vec![
        ("product_id", json!({ "quantity": 1 })),
        ("product_id", json!({ "product_id": null, "quantity": 1 })),
        ("product_id", json!({ "product_id": 7, "quantity": 1 })),
        ("product_id", json!({ "product_id": "", "quantity": 1 })),
        (
            "product_id",
            json!({ "product_id": "x".repeat(10_000), "quantity": 1 }),
        ),
        ("product_id", json!({ "product_id": "\0", "quantity": 1 })),
        (
            "product_id",
            json!({ "product_id": format!("{product}\0"), "quantity": 1 }),
        ),
        (
            "product_id",
            json!({ "product_id": [product], "quantity": 1 }),
        ),
        (
            "product_id",
            json!({ "product_id": "'; DROP TABLE orders; --", "quantity": 1 }),
        ),
        ("quantity", json!({ "product_id": product })),
        (
            "waitlist",
            json!({ "product_id": product, "quantity": 1, "waitlist": "yes" }),
        ),
        (
            "waitlist",
            json!({ "product_id": product, "quantity": 1, "waitlist": 1 }),
        ),
        (
            "price",
            json!({ "product_id": product, "quantity": 1, "price": 1 }),
        ),
        (
            "user_id",
            json!({ "product_id": product, "quantity": 1, "user_id": "bob" }),
        ),
        (
            "__proto__",
            json!({ "product_id": product, "quantity": 1, "__proto__": {} }),
        ),
    ]
}

#[rstest]
#[case::sqlite(Backend::Sqlite)]
#[case::postgres(Backend::Postgres)]
#[tokio::test]
async fn wrong_types_and_unknown_fields_are_named(#[case] backend: Backend) {
    let shop = Shop::open(backend).await;
    let product = shop.service().product(5, json!({})).await;
    let before = shop.ledger.everything().await;

    for (field, body) in invalid_bodies(product) {
        send(shop.service(), body.to_string()).await.invalid(field);
    }

    assert_eq!(shop.ledger.everything().await, before);
}

fn malformed_bodies(product: Uuid) -> Vec<Vec<u8>> {
    let valid = json!({ "product_id": product, "quantity": 1 }).to_string();
    let mut latin = valid.clone().into_bytes();
    latin.extend(b" \xff");
    vec![
        Vec::new(),
        b"   ".to_vec(),
        b"{".to_vec(),
        b"nonsense".to_vec(),
        b"\xff\xfe".to_vec(),
        b"{\"product_id\":\"\xff\",\"quantity\":1}".to_vec(),
        latin,
        format!("{valid}{valid}").into_bytes(),
        format!("{valid},").into_bytes(),
        valid.replace('}', ",}").into_bytes(),
        valid.replace('"', "'").into_bytes(),
        valid.replace(":1", ":01").into_bytes(),
        valid.replace(":1", ":NaN").into_bytes(),
        format!("\u{feff}{valid}").into_bytes(),
        format!("/* */{valid}").into_bytes(),
        b"\0".to_vec(),
        valid.encode_utf16().flat_map(u16::to_le_bytes).collect(),
    ]
}

#[rstest]
#[case::sqlite(Backend::Sqlite)]
#[case::postgres(Backend::Postgres)]
#[tokio::test]
async fn bodies_that_are_not_json_are_malformed(#[case] backend: Backend) {
    let shop = Shop::open(backend).await;
    let product = shop.service().product(5, json!({})).await;

    for body in malformed_bodies(product) {
        let shown = String::from_utf8_lossy(&body).into_owned();
        let answer = send(shop.service(), body).await;
        assert_eq!(answer.code(), "malformed_json", "{shown}: {answer:?}");
        answer.refusal(400, "malformed_json");
    }

    assert!(shop.ledger.orders(product).await.is_empty());
}

/// Bodies at the limits of JSON that are not orders: the parser may report them as malformed or as
/// invalid.
fn unusual_bodies(product: Uuid) -> Vec<String> {
    vec![
        format!(r#"{{"product_id":"{product}","quantity":1,"quantity":2}}"#),
        format!(r#"{{"product_id":"{product}","product_id":"{product}","quantity":1}}"#),
        format!(r#"{{"product_id":"{product}","quantity":1e999}}"#),
        format!(r#"{{"product_id":"{product}","quantity":-1e999}}"#),
        format!(r#"["{product}",1]"#),
        format!(r#"["{product}",1,false]"#),
        format!(r#"[{{"product_id":"{product}","quantity":1}}]"#),
        "[]".to_owned(),
        "{}".to_owned(),
        "null".to_owned(),
        "1".to_owned(),
        "\"order\"".to_owned(),
        "true".to_owned(),
        "[".repeat(8_000),
        format!("{}{}", "[".repeat(8_000), "]".repeat(8_000)),
        r#"{"product_id":"#.repeat(1_000),
        format!(
            r#"{{"product_id":"{product}","quantity":1,"x":{}0{}}}"#,
            "[".repeat(3_000),
            "]".repeat(3_000)
        ),
        format!(r#"{{"product_id":"\ud800","quantity":1,"note":"{product}"}}"#),
    ]
}

#[rstest]
#[case::sqlite(Backend::Sqlite)]
#[case::postgres(Backend::Postgres)]
#[tokio::test]
async fn json_that_is_not_an_order_is_refused(#[case] backend: Backend) {
    let shop = Shop::open(backend).await;
    let product = shop.service().product(5, json!({})).await;
    let before = shop.ledger.everything().await;

    for body in unusual_bodies(product) {
        let shown: String = body.chars().take(120).collect();
        let answer = send(shop.service(), body).await;
        let refusal = (answer.status, answer.code());
        let expected = [
            (400, "malformed_json".to_owned()),
            (422, "invalid_request".to_owned()),
        ];
        assert!(expected.contains(&refusal), "{shown}: {answer:?}");
        answer.problem();
    }

    assert_eq!(shop.ledger.everything().await, before);
}

#[rstest]
#[case::sqlite(Backend::Sqlite)]
#[case::postgres(Backend::Postgres)]
#[tokio::test]
async fn an_invalid_idempotency_key_is_refused(#[case] backend: Backend) {
    let shop = Shop::open(backend).await;
    let service = shop.service();
    let product = service.product(5, json!({})).await;
    let before = shop.ledger.everything().await;
    let keyed = |key: Vec<u8>| {
        service
            .order("ann", product, 1)
            .header("Idempotency-Key", key)
    };

    for key in [
        Vec::new(),
        vec![b'k'; 256],
        vec![b'k'; 5_000],
        b"two words".to_vec(),
        b"tab\tted".to_vec(),
        "ключ".as_bytes().to_vec(),
        b"caf\xe9".to_vec(),
    ] {
        keyed(key).send().await.invalid("Idempotency-Key");
    }
    assert_eq!(shop.ledger.everything().await, before);

    keyed(vec![b'~'; 255]).send().await.success(201);
    keyed(b"!\"#$%&'()*+,-./:;<=>?@[\\]^_`{|}".to_vec())
        .send()
        .await
        .success(201);
    keyed(b"x".to_vec()).send().await.success(201);
}
