//! Invalid products and restocks: the answer is 422 and names the field; nothing is written.

use rstest::rstest;
use serde_json::{Map, Value, json};

use crate::support::{
    front::product_body,
    shop::{Backend, Shop},
    tokens,
};

fn list(values: &Value) -> Vec<Value> {
    values.as_array().unwrap().clone()
}

fn bad_texts() -> Vec<Value> {
    list(&json!(["", "x".repeat(10_000), "a\0b", 7, [], {}, true]))
}

/// Values that are not whole numbers from 0 to `i64::MAX`.
fn bad_numbers() -> Vec<Value> {
    let beyond = 9_223_372_036_854_775_808_u64;
    list(&json!([
        -1,
        1.5,
        "1",
        true,
        [1],
        {},
        beyond,
        u64::MAX,
        i64::MIN,
        1e300
    ]))
}

/// Values that are not whole numbers from 0 to `i32::MAX`.
fn bad_small_numbers() -> Vec<Value> {
    let beyond = json!([2_147_483_648_i64, 4_294_967_297_i64, i64::MAX]);
    [bad_numbers(), list(&beyond)].concat()
}

fn bad_positive_numbers() -> Vec<Value> {
    [bad_small_numbers(), vec![json!(0)]].concat()
}

fn bad_times() -> Vec<Value> {
    list(&json!([
        "yesterday",
        "",
        12,
        "2026-13-01T00:00:00Z",
        "2026-01-01",
        "2026-01-01T00:00:00",
        "2026-02-30T00:00:00Z",
        [],
        true,
        "x".repeat(10_000),
        "2026-01-01T00:00:00Z\0",
    ]))
}

/// Values that each field refuses, at creation and in a change.
fn bad_values() -> Vec<(&'static str, Vec<Value>)> {
    let currencies = list(&json!([
        "EU",
        "EURO",
        "E1R",
        "€€€",
        "XXX",
        "CLF",
        "USN",
        "HRK",
        "XTS",
        "XAU",
        "XDR"
    ]));
    vec![
        ("sku", bad_texts()),
        ("name", bad_texts()),
        ("description", bad_texts().split_off(1)),
        (
            "price",
            [bad_numbers(), list(&json!([i64::MAX, null]))].concat(),
        ),
        ("currency", [bad_texts(), currencies].concat()),
        ("max_per_order", bad_positive_numbers()),
        ("max_per_user", bad_positive_numbers()),
        ("hold_seconds", bad_positive_numbers()),
        ("waitlist", list(&json!(["yes", 1, []]))),
        ("starts_at", bad_times()),
        ("ends_at", bad_times()),
        ("stock", [bad_small_numbers(), vec![Value::Null]].concat()),
        ("id", vec![json!("01890a5d-ac96-774b-bcce-b302099a8057")]),
        ("version", vec![json!(9)]),
        ("stock_total", vec![json!(9)]),
        ("created_at", vec![json!("2026-01-01T00:00:00Z")]),
        ("unknown", vec![json!(1)]),
    ]
}

fn only(field: &str, value: &Value) -> Value {
    Value::Object(Map::from_iter([(field.to_owned(), value.clone())]))
}

#[rstest]
#[case::sqlite(Backend::Sqlite)]
#[case::postgres(Backend::Postgres)]
#[tokio::test]
async fn a_product_with_an_invalid_field_is_not_created(#[case] backend: Backend) {
    let shop = Shop::open(backend).await;

    for (field, values) in bad_values() {
        for value in values {
            let answer = shop
                .service()
                .create(&product_body(5, only(field, &value)))
                .await;
            assert_eq!(answer.status, 422, "{field} = {value:.60}: {answer:?}");
            answer.invalid(field);
        }
    }
    for field in ["sku", "name", "price", "currency", "stock"] {
        let mut body = product_body(5, json!({}));
        body.as_object_mut().unwrap().remove(field);
        shop.service().create(&body).await.invalid(field);
    }

    assert_eq!(shop.ledger.everything().await, (Vec::new(), Vec::new()));
}

#[rstest]
#[case::sqlite(Backend::Sqlite)]
#[case::postgres(Backend::Postgres)]
#[tokio::test]
async fn a_change_with_an_invalid_field_is_not_applied(#[case] backend: Backend) {
    let shop = Shop::open(backend).await;
    let product = shop
        .service()
        .product(5, json!({ "max_per_user": 3 }))
        .await;
    let before = shop.ledger.everything().await;

    for (field, mut values) in bad_values() {
        if field == "stock" {
            values = vec![json!(6), json!(0), json!(null)];
        }
        for value in values {
            let answer = shop.service().change(product, &only(field, &value)).await;
            assert_eq!(answer.status, 422, "{field} = {value:.60}: {answer:?}");
            answer.invalid(field);
        }
    }

    assert_eq!(shop.ledger.everything().await, before);
}

#[rstest]
#[case::sqlite(Backend::Sqlite)]
#[case::postgres(Backend::Postgres)]
#[tokio::test]
async fn a_restock_must_be_a_whole_number_other_than_zero(#[case] backend: Backend) {
    let shop = Shop::open(backend).await;
    let product = shop.service().product(5, json!({})).await;
    let before = shop.ledger.everything().await;
    let path = format!("/products/{product}/restock");

    for quantity in [
        "0",
        "-1000000001",
        "1.5",
        "\"1\"",
        "null",
        "true",
        "[]",
        "{}",
        "2147483648",
        "4294967297",
        "9223372036854775807",
        "9223372036854775808",
        "18446744073709551616",
        "-9223372036854775809",
    ] {
        let call = shop.service().post(&path).bearer(&tokens::admin());
        let answer = call
            .body(format!(r#"{{"quantity":{quantity}}}"#))
            .send()
            .await;
        assert_eq!(answer.status, 422, "{quantity}: {answer:?}");
        answer.invalid("quantity");
    }
    for (field, body) in [
        ("quantity", json!({})),
        ("stock", json!({ "quantity": 1, "stock": 5 })),
    ] {
        let call = shop.service().post(&path).bearer(&tokens::admin());
        call.json(&body).send().await.invalid(field);
    }

    assert_eq!(shop.ledger.everything().await, before);
}
