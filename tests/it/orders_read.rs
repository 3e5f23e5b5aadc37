//! `GET /orders` and `GET /orders/{id}`: fields, access, filters and pagination.

use std::collections::BTreeSet;

use rstest::rstest;
use serde_json::{Value, json};

use crate::support::{
    front::Front,
    shop::{Backend, Shop},
    tokens,
};

const FIELDS: [&str; 13] = [
    "confirmed_at",
    "created_at",
    "currency",
    "expires_at",
    "id",
    "payment",
    "product_id",
    "quantity",
    "reference",
    "status",
    "total",
    "unit_price",
    "user_id",
];

async fn read(front: &Front, token: &str, query: &[(&str, &str)]) -> Value {
    front
        .get("/orders")
        .bearer(token)
        .query(query)
        .send()
        .await
        .success(200)
}

fn ids(page: &Value) -> Vec<String> {
    let orders = page["orders"].as_array().unwrap();
    orders
        .iter()
        .map(|order| order["id"].as_str().unwrap().to_owned())
        .collect()
}

#[rstest]
#[case::sqlite(Backend::Sqlite)]
#[case::postgres(Backend::Postgres)]
#[tokio::test]
async fn an_order_has_exactly_the_fields_of_the_contract(#[case] backend: Backend) {
    let shop = Shop::open(backend).await;
    let service = shop.service();
    let product = service
        .product(5, json!({ "price": 1250, "currency": "CHF" }))
        .await;

    let answer = service.buy("ann", product, 3).await;
    let order = answer.success(201);

    let fields: Vec<&str> = order
        .as_object()
        .unwrap()
        .keys()
        .map(String::as_str)
        .collect();
    assert_eq!(BTreeSet::from_iter(fields), BTreeSet::from(FIELDS));
    assert_eq!(order["product_id"], json!(product));
    assert_eq!(order["user_id"], "ann");
    assert_eq!(order["quantity"], 3);
    assert_eq!(order["unit_price"], 1250);
    assert_eq!(order["total"], 3750);
    assert_eq!(order["currency"], "CHF");
    assert_eq!(
        order["status"], "confirmed",
        "without hold_seconds an order is confirmed at once"
    );
    assert_eq!(order["expires_at"], Value::Null);
    let id = order["id"].as_str().unwrap();
    assert_eq!(id.parse::<uuid::Uuid>().unwrap().get_version_num(), 7);
    let created_at = order["created_at"].as_str().unwrap();
    assert!(chrono::DateTime::parse_from_rfc3339(created_at).is_ok() && created_at.ends_with('Z'));
    assert_reference(order["reference"].as_str().unwrap());
    let location = answer.header("location").unwrap();
    assert!(location.ends_with(&format!("/orders/{id}")), "{location}");

    let read = service
        .get(&format!("/orders/{id}"))
        .bearer(&tokens::user("ann"))
        .send()
        .await;
    assert_eq!(read.success(200), order);
    let row = &shop.ledger.orders(product).await[0];
    assert_eq!(
        (row.reference.as_str(), row.quantity),
        (order["reference"].as_str().unwrap(), 3)
    );
}

/// `FS-` and 12 letters of Crockford's base32, which has no I, L, O and U.
#[track_caller]
fn assert_reference(reference: &str) {
    let letters = reference.strip_prefix("FS-").unwrap();
    let alphabet = "0123456789ABCDEFGHJKMNPQRSTVWXYZ";
    assert!(
        letters.len() == 12 && letters.chars().all(|c| alphabet.contains(c)),
        "{reference}"
    );
}

#[rstest]
#[case::sqlite(Backend::Sqlite)]
#[case::postgres(Backend::Postgres)]
#[tokio::test]
async fn a_product_with_hold_seconds_has_pending_orders(#[case] backend: Backend) {
    let shop = Shop::open(backend).await;
    let service = shop.service();
    let product = service.product(5, json!({ "hold_seconds": 120 })).await;

    let order = service.buy("ann", product, 2).await.success(201);

    assert_eq!(order["status"], "pending");
    assert_eq!(order["confirmed_at"], Value::Null);
    let time =
        |field: &str| chrono::DateTime::parse_from_rfc3339(order[field].as_str().unwrap()).unwrap();
    assert_eq!((time("expires_at") - time("created_at")).num_seconds(), 120);
    assert_eq!(shop.ledger.product(product).await.stock, 3);
    shop.assert_books(product).await;
}

#[tokio::test]
async fn only_its_user_and_an_admin_see_an_order() {
    let shop = Shop::open(Backend::Sqlite).await;
    let service = shop.service();
    let product = service.product(5, json!({})).await;
    let order = service.buy("ann", product, 1).await.success(201);
    let path = format!("/orders/{}", order["id"].as_str().unwrap());

    let own = service.get(&path).bearer(&tokens::user("ann")).send().await;
    assert_eq!(own.success(200), order);
    let admins = service.get(&path).bearer(&tokens::admin()).send().await;
    assert_eq!(admins.success(200), order);
    let foreign = service.get(&path).bearer(&tokens::user("bob")).send().await;
    foreign.refusal(404, "order_not_found");
    service
        .get(&path)
        .send()
        .await
        .refusal(401, "unauthenticated");
    let unknown = format!("/orders/{}", uuid::Uuid::now_v7());
    let unknown = service.get(&unknown).bearer(&tokens::admin()).send().await;
    unknown.refusal(404, "order_not_found");
}

#[rstest]
#[case::sqlite(Backend::Sqlite)]
#[case::postgres(Backend::Postgres)]
#[tokio::test]
async fn lists_show_the_matching_orders_and_none_of_other_users(#[case] backend: Backend) {
    let shop = Shop::open(backend).await;
    let service = shop.service();
    let sold = service.product(9, json!({})).await;
    let held = service.product(9, json!({ "hold_seconds": 60 })).await;
    let mut all = Vec::new();
    for (user, product) in [("ann", sold), ("ann", held), ("bob", sold), ("bob", held)] {
        let order = service.buy(user, product, 1).await.success(201);
        all.push(order["id"].as_str().unwrap().to_owned());
    }
    let [ann_sold, ann_held, bob_sold, bob_held] = all.clone().try_into().unwrap();
    let (ann, admin) = (tokens::user("ann"), tokens::admin());
    let sold = sold.to_string();

    for (token, query, expected) in [
        (&ann, vec![], vec![&ann_sold, &ann_held]),
        (&ann, vec![("product_id", sold.as_str())], vec![&ann_sold]),
        (&ann, vec![("status", "pending")], vec![&ann_held]),
        (&ann, vec![("status", "expired")], vec![]),
        (
            &admin,
            vec![],
            vec![&ann_sold, &ann_held, &bob_sold, &bob_held],
        ),
        (
            &admin,
            vec![("status", "confirmed")],
            vec![&ann_sold, &bob_sold],
        ),
        (
            &admin,
            vec![("status", "pending"), ("product_id", sold.as_str())],
            vec![],
        ),
    ] {
        let page = read(service, token, &query).await;
        let found = BTreeSet::from_iter(ids(&page));
        assert_eq!(found, expected.into_iter().cloned().collect(), "{query:?}");
        assert_eq!(page["next_cursor"], Value::Null, "{query:?}");
    }
    let stranger = read(service, &tokens::user("carl"), &[]).await;
    assert_eq!(stranger["orders"], json!([]));
}

#[rstest]
#[case::sqlite(Backend::Sqlite)]
#[case::postgres(Backend::Postgres)]
#[tokio::test]
async fn pages_hold_every_order_once(#[case] backend: Backend) {
    let shop = Shop::open(backend).await;
    let service = shop.service();
    let product = service.product(100, json!({})).await;
    let mut placed = Vec::new();
    for _ in 0..25 {
        let order = service.buy("ann", product, 1).await.success(201);
        placed.push(order["id"].as_str().unwrap().to_owned());
        service.buy("bob", product, 1).await.success(201);
    }

    for limit in ["10", "5", "24", "25", "100"] {
        let found = walk(service, &tokens::user("ann"), limit).await;
        assert_eq!(found.len(), 25, "limit {limit}");
        assert_eq!(BTreeSet::from_iter(found), placed.iter().cloned().collect());
    }
    assert_eq!(walk(service, &tokens::admin(), "7").await.len(), 50);
}

/// All ids, page by page; an order placed meanwhile must not shift the pages.
async fn walk(front: &Front, token: &str, limit: &str) -> Vec<String> {
    let mut found = Vec::new();
    let mut page = read(front, token, &[("limit", limit)]).await;
    for _ in 0..30 {
        let on_page = ids(&page);
        assert!(on_page.len() <= limit.parse().unwrap());
        found.extend(on_page);
        let Some(cursor) = page["next_cursor"].as_str().map(str::to_owned) else {
            return found;
        };
        page = read(front, token, &[("limit", limit), ("cursor", &cursor)]).await;
    }
    panic!("the pages do not end");
}
