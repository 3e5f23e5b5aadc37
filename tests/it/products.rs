//! Product endpoints: create, change, restock and read.

use std::collections::BTreeSet;

use rstest::rstest;
use serde_json::{Value, json};

use crate::support::{
    SOON, eventually,
    front::product_body,
    shop::{Backend, Shop},
};

const FIELDS: [&str; 21] = [
    "archived_at",
    "created_at",
    "currency",
    "description",
    "ends_at",
    "hold_seconds",
    "id",
    "max_per_order",
    "max_per_user",
    "name",
    "price",
    "published",
    "sku",
    "starts_at",
    "stock",
    "stock_total",
    "updated_at",
    "version",
    "waitlist",
    "waitlist_skip",
    "stock_reserved",
];

#[rstest]
#[case::sqlite(Backend::Sqlite)]
#[case::postgres(Backend::Postgres)]
#[tokio::test]
async fn a_product_has_exactly_the_fields_of_the_contract(#[case] backend: Backend) {
    let shop = Shop::open(backend).await;
    let service = shop.service();
    let body = product_body(7, json!({}));

    let answer = service.create(&body).await;
    let product = answer.success(201);

    let fields: Vec<&str> = product
        .as_object()
        .unwrap()
        .keys()
        .map(String::as_str)
        .collect();
    assert_eq!(BTreeSet::from_iter(fields), BTreeSet::from(FIELDS));
    for field in ["sku", "name", "price", "currency", "stock"] {
        assert_eq!(product[field], body[field], "{field}");
    }
    assert_eq!(
        (&product["stock_total"], &product["max_per_order"]),
        (&json!(7), &json!(10))
    );
    assert_eq!(product["waitlist"], false);
    for field in [
        "description",
        "max_per_user",
        "hold_seconds",
        "starts_at",
        "ends_at",
    ] {
        assert_eq!(product[field], Value::Null, "{field}");
    }
    let path = format!("/products/{}", product["id"].as_str().unwrap());
    assert!(
        answer
            .header("location")
            .is_none_or(|location| location.ends_with(&path))
    );
    assert_eq!(service.get(&path).send().await.success(200), product);
}

#[rstest]
#[case::sqlite(Backend::Sqlite)]
#[case::postgres(Backend::Postgres)]
#[tokio::test]
async fn every_option_is_kept_and_can_be_changed(#[case] backend: Backend) {
    let shop = Shop::open(backend).await;
    let service = shop.service();
    let options = json!({
        "description": "Ünïcødé ✓", "max_per_order": 3, "max_per_user": 6, "hold_seconds": 90,
        "waitlist": true, "starts_at": "2020-01-01T00:00:00Z", "ends_at": "2090-01-01T00:00:00Z",
    });
    let id = service.product(7, options.clone()).await;
    let read = async || {
        service
            .get(&format!("/products/{id}"))
            .send()
            .await
            .success(200)
    };
    assert_options(&read().await, &options);

    let changes = json!({
        "sku": "changed", "name": "Another", "price": 5, "currency": "USD", "description": null,
        "max_per_order": 4, "max_per_user": null, "hold_seconds": null, "waitlist": false,
        "starts_at": null, "ends_at": "2091-01-01T00:00:00Z",
    });
    let changed = service.change(id, &changes).await.success(200);
    assert_options(&changed, &changes);
    assert_eq!(read().await, changed);
    assert_eq!(
        (&changed["stock"], &changed["stock_total"]),
        (&json!(7), &json!(7))
    );

    // Fields that the body does not name stay unchanged.
    let renamed = service
        .change(id, &json!({ "name": "Third" }))
        .await
        .success(200);
    assert_eq!(
        (&renamed["name"], &renamed["max_per_order"]),
        (&json!("Third"), &json!(4))
    );
    assert_eq!(renamed["ends_at"], changed["ends_at"]);
}

fn assert_options(product: &Value, options: &Value) {
    for (field, wanted) in options.as_object().unwrap() {
        let time = |value: &Value| {
            let text = value.as_str().filter(|_| field.ends_with("_at"))?;
            Some(chrono::DateTime::parse_from_rfc3339(text).unwrap())
        };
        assert_eq!(time(&product[field]), time(wanted), "{field}");
        assert!(
            time(wanted).is_some() || product[field] == *wanted,
            "{field}: {product}"
        );
    }
}

/// A changed rule applies to the next order.
#[rstest]
#[case::sqlite(Backend::Sqlite)]
#[case::three_nodes(Backend::ThreeNodes)]
#[tokio::test]
async fn a_change_applies_at_once_on_its_node_and_soon_on_all(#[case] backend: Backend) {
    let shop = Shop::open(backend).await;
    let product = shop.service().product(50, json!({ "price": 100 })).await;
    for node in &shop.nodes {
        node.buy("ann", product, 5).await.success(201);
    }

    let rules = json!({ "price": 200, "max_per_order": 4 });
    shop.service().change(product, &rules).await.success(200);

    shop.service()
        .buy("ann", product, 5)
        .await
        .invalid("quantity");
    let order = shop.service().buy("ann", product, 4).await.success(201);
    assert_eq!(order["unit_price"], 200);
    for (number, node) in shop.nodes.iter().enumerate() {
        eventually("the new price on every node", SOON, async || {
            let order = node
                .buy(&format!("user-{number}"), product, 1)
                .await
                .success(201);
            (order["unit_price"] == 200).then_some(())
        })
        .await;
    }
    shop.assert_books(product).await;
}

#[rstest]
#[case::sqlite(Backend::Sqlite)]
#[case::postgres(Backend::Postgres)]
#[tokio::test]
async fn a_sku_is_taken_once(#[case] backend: Backend) {
    let shop = Shop::open(backend).await;
    let service = shop.service();
    let body = product_body(7, json!({}));
    service.create(&body).await.success(201);
    let other = service.product(1, json!({})).await;
    let before = shop.ledger.everything().await;

    service.create(&body).await.refusal(409, "sku_taken");
    let change = service.change(other, &json!({ "sku": body["sku"] })).await;
    change.refusal(409, "sku_taken");

    assert_eq!(shop.ledger.everything().await, before);
}

#[rstest]
#[case::sqlite(Backend::Sqlite)]
#[case::three_nodes(Backend::ThreeNodes)]
#[tokio::test]
async fn a_restock_sells_on_every_node(#[case] backend: Backend) {
    let shop = Shop::open(backend).await;
    let product = shop.service().product(1, json!({})).await;
    shop.service().buy("ann", product, 1).await.success(201);
    for node in &shop.nodes {
        node.buy("bob", product, 1).await.refusal(409, "sold_out");
    }

    let restocked = shop.service().restock(product, 3).await.success(200);

    assert_eq!(
        (&restocked["stock"], &restocked["stock_total"]),
        (&json!(3), &json!(4))
    );
    shop.service().buy("bob", product, 1).await.success(201);
    for node in &shop.nodes {
        eventually("the restocked units sell", SOON, async || {
            let answer = node.buy("carl", product, 1).await;
            [201, 409].contains(&answer.status).then_some(())?;
            (answer.status == 201 || shop.ledger.product(product).await.stock == 0).then_some(())
        })
        .await;
    }
    shop.assert_books(product).await;
}

#[tokio::test]
async fn unknown_products_are_not_found() {
    let shop = Shop::open(Backend::Sqlite).await;
    let service = shop.service();
    let id = uuid::Uuid::now_v7();

    for tail in ["", "/availability", "/events"] {
        let answer = service.get(&format!("/products/{id}{tail}")).send().await;
        answer.refusal(404, "product_not_found");
    }
    service
        .change(id, &json!({ "name": "x" }))
        .await
        .refusal(404, "product_not_found");
    service
        .restock(id, 1)
        .await
        .refusal(404, "product_not_found");
    service
        .buy("ann", id, 1)
        .await
        .refusal(404, "product_not_found");
}
