//! Admins find orders by reference, user and time; every list is read by an index.

use std::collections::BTreeSet;

use chrono::{DateTime, TimeDelta, Utc};
use entities::{order_status::OrderStatus, orders};
use rstest::rstest;
use sea_orm::ActiveValue::Set;
use serde_json::{Value, json};
use uuid::Uuid;

use crate::support::{
    front::Front,
    http::Answer,
    shop::{Backend, Shop},
    tokens,
};

async fn list(front: &Front, token: &str, query: &[(&str, &str)]) -> Answer {
    let call = front.get("/orders").bearer(token).query(query);
    call.send().await
}

fn ids(page: &Value) -> Vec<String> {
    let orders = page["orders"].as_array().unwrap();
    let ids = orders.iter().map(|order| order["id"].as_str().unwrap());
    ids.map(str::to_owned).collect()
}

/// The ids of all pages, and the number of pages.
async fn walk(front: &Front, query: &[(&str, &str)]) -> (Vec<String>, usize) {
    let mut found = Vec::new();
    let mut page = list(front, &tokens::admin(), query).await.success(200);
    for pages in 1..2_000 {
        found.extend(ids(&page));
        let Some(cursor) = page["next_cursor"].as_str() else {
            return (found, pages);
        };
        let mut query = query.to_vec();
        query.push(("cursor", cursor));
        page = list(front, &tokens::admin(), &query).await.success(200);
    }
    panic!("the pages do not end");
}

#[rstest]
#[case::sqlite(Backend::Sqlite)]
#[case::postgres(Backend::Postgres)]
#[tokio::test]
async fn admins_find_orders_by_reference_user_and_time(#[case] backend: Backend) {
    let shop = Shop::open(backend).await;
    let service = shop.service();
    let product = service.product(9, json!({})).await;
    let mut orders = Vec::new();
    for (user, reference, at) in [
        ("ann", "FS-0A1B2C3D", "2030-01-01T10:00:00Z"),
        ("bob", "FS-0123456789AB", "2030-01-01T11:00:00Z"),
        ("ann", "FS-XYZ98765", "2030-01-01T12:00:00Z"),
    ] {
        let order = service.buy(user, product, 1).await.success(201);
        let id = order["id"].as_str().unwrap().to_owned();
        let mut row = shop.ledger.order(&id).await;
        row.reference = reference.to_owned();
        row.created_at = at.parse().unwrap();
        shop.ledger.replace_order(row).await;
        orders.push(id);
    }
    let [first, second, third] = [0, 1, 2].map(|order| orders[order].clone());
    let all = || vec![&third, &second, &first];

    for (query, found) in [
        (vec![], all()),
        (vec![("reference", "FS-0A1B2C3D")], vec![&first]),
        (vec![("reference", "fs oa1b-2c3d")], vec![&first]),
        (vec![("reference", "0123-4567-89ab")], vec![&second]),
        (vec![("reference", "FS-0A1B2C3E")], vec![]),
        (vec![("reference", "\0")], vec![]),
        (vec![("created_before", "0250-10-28T00:02:59Z")], vec![]),
        (vec![("created_before", "9999-12-31T23:59:59-23:00")], all()),
        (vec![("user_id", "ann")], vec![&third, &first]),
        (vec![("user_id", "carl")], vec![]),
        (
            vec![
                ("user_id", "ann"),
                ("created_after", "2030-01-01T11:00:00Z"),
            ],
            vec![&third],
        ),
        (vec![("created_after", "2030-01-01T10:00:00Z")], all()),
        (
            vec![("created_after", "2030-01-01T10:00:00.000001Z")],
            vec![&third, &second],
        ),
        (
            vec![("created_before", "2030-01-01T12:00:00Z")],
            vec![&second, &first],
        ),
        (
            vec![
                ("created_after", "2030-01-01T11:00:00Z"),
                ("created_before", "2030-01-01T11:30:00Z"),
                ("status", "confirmed"),
            ],
            vec![&second],
        ),
    ] {
        let page = list(service, &tokens::admin(), &query).await.success(200);
        let found: Vec<_> = found.into_iter().cloned().collect();
        assert_eq!(ids(&page), found, "{query:?}");
        assert_eq!(page["next_cursor"], Value::Null);
    }
    for blank in ["", " "] {
        let page = list(service, &tokens::admin(), &[("reference", blank)]).await;
        page.refusal(422, "invalid_request");
    }
    assert_buyers_find_their_own(service).await;
}

async fn assert_buyers_find_their_own(service: &Front) {
    let ann = tokens::user("ann");
    let own = list(service, &ann, &[("reference", "FS-XYZ98765")]).await;
    assert_eq!(ids(&own.success(200)).len(), 1);
    let own = list(service, &ann, &[("user_id", "ann")]).await;
    assert_eq!(ids(&own.success(200)).len(), 2);
    let other = list(service, &ann, &[("reference", "FS-0123456789AB")]).await;
    assert!(ids(&other.success(200)).is_empty());
    let other = list(service, &ann, &[("user_id", "bob")]).await;
    other.refusal(403, "forbidden");
    for (field, value) in [
        ("created_after", "1"),
        ("created_before", "2030-13-01"),
        ("user_id", "a\nb"),
    ] {
        let answer = list(service, &tokens::admin(), &[(field, value)]).await;
        answer.invalid(field);
    }
}

fn row(number: u32, product: Uuid, status: OrderStatus, at: DateTime<Utc>) -> orders::ActiveModel {
    // Not in the order of time.
    let scattered = u128::from(number + 1).wrapping_mul(0x9E37_79B9_7F4A_7C15_F39C_C060_5CED_C835);
    orders::ActiveModel {
        id: Set(Uuid::from_u128(scattered)),
        reference: Set(format!("OLD-{number}")),
        product_id: Set(product),
        user_id: Set(format!("user-{}", number % 50)),
        quantity: Set(1),
        unit_price: Set(1),
        currency: Set("EUR".to_owned()),
        status: Set(status),
        created_at: Set(at),
        ..Default::default()
    }
}

/// Two orders of one product and one expired order lie under 12,000 others.
#[rstest]
#[case::sqlite(Backend::Sqlite)]
#[case::postgres(Backend::Postgres)]
#[tokio::test]
async fn pages_by_time_hold_every_order_once(#[case] backend: Backend) {
    let shop = Shop::open(backend).await;
    let service = shop.service();
    let [common, rare] = [
        service.product(0, json!({})).await,
        service.product(0, json!({})).await,
    ];
    let start: DateTime<Utc> = "2030-01-01T00:00:00Z".parse().unwrap();
    // Ten orders share a time.
    let time = |number: u32| start + TimeDelta::seconds(i64::from(number / 10));
    let rows = (0..12_000).map(|number| {
        let status = if number == 25 {
            OrderStatus::Expired
        } else {
            OrderStatus::Cancelled
        };
        let product = if number < 2 { rare } else { common };
        row(number, product, status, time(number))
    });
    shop.ledger.plant(rows.collect()).await;

    let (all, pages) = walk(service, &[("limit", "100")]).await;
    assert_eq!((all.len(), pages), (12_000, 120));
    assert_eq!(BTreeSet::from_iter(&all).len(), 12_000);
    let mut last = time(12_000);
    for id in all.iter().step_by(97) {
        let at = shop.ledger.order(id).await.created_at;
        assert!(at <= last, "newest first");
        last = at;
    }
    let rare = rare.to_string();
    let (found, pages) = walk(service, &[("product_id", &rare)]).await;
    assert_eq!(found.len(), 2);
    assert!(
        pages > 5,
        "a page examines a bounded number of orders: {pages}"
    );
    let (found, pages) = walk(service, &[("status", "expired")]).await;
    assert_eq!((found.len(), pages), (1, 1));
    let (found, _) = walk(service, &[("status", "confirmed")]).await;
    assert!(found.is_empty());
    let window = [
        ("created_after", "2030-01-01T00:00:10Z"),
        ("created_before", "2030-01-01T00:00:20Z"),
        ("limit", "7"),
    ];
    assert_eq!(walk(service, &window).await.0.len(), 100);
}

/// The lists of `src/store/orders/list.rs`, with values in place of parameters.
const LISTS: [(&str, &str, &str); 5] = [
    (
        "all",
        "orders_created_at_idx",
        "SELECT * FROM (SELECT * FROM orders $time LIMIT 2000) AS orders $time LIMIT 51",
    ),
    (
        "a window of time and a product",
        "orders_created_at_idx",
        "SELECT * FROM (SELECT * FROM orders WHERE created_at >= now() - interval '2 days' \
            AND created_at < now() - interval '1 day' $time LIMIT 2000) AS orders \
         WHERE product_id = $product $time LIMIT 51",
    ),
    (
        "a later page",
        "orders_created_at_idx",
        "SELECT * FROM (SELECT * FROM orders WHERE created_at <= now() - interval '1 day' AND \
            (created_at < now() - interval '1 day' OR id < $product) $time LIMIT 2000) AS orders \
         WHERE status = 'pending' $time LIMIT 51",
    ),
    (
        "a rare status",
        "orders_confirming_created_at_idx",
        "SELECT * FROM (SELECT * FROM orders WHERE status = 'confirming' $time LIMIT 2000) \
         AS orders $time LIMIT 51",
    ),
    (
        "the end of a page",
        "orders_created_at_idx",
        "SELECT id FROM orders $time LIMIT 1 OFFSET 1999",
    ),
];

#[tokio::test]
async fn every_list_of_admins_is_read_by_an_index_and_not_sorted() {
    let shop = Shop::open(Backend::Postgres).await;
    let product = shop.service().product(0, json!({})).await;
    let fill = format!(
        "INSERT INTO orders (id, reference, product_id, user_id, quantity, unit_price, currency, \
            status, created_at, expires_at) \
         SELECT gen_random_uuid(), 'OLD-' || n, CASE n % 2 WHEN 0 THEN '{product}' \
            ELSE md5((n % 64)::text)::uuid END, 'old-' || n % 5000, 1, 1, 'EUR', \
            CASE n % 1000 WHEN 0 THEN 'expired' WHEN 1 THEN 'confirming' ELSE 'cancelled' END, \
            now() - n * interval '1 second', now() FROM generate_series(1, 200000) AS n"
    );
    for statement in [&fill, "VACUUM ANALYZE orders"] {
        shop.ledger.execute(statement).await;
    }

    for (name, index, sql) in LISTS {
        let sql = sql
            .replace("$product", &format!("'{product}'"))
            .replace("$time", "ORDER BY created_at DESC, id DESC");
        let plan = shop.ledger.texts(&format!("EXPLAIN {sql}")).await;
        let plan = plan.join("\n");
        assert!(plan.contains(index), "{name}:\n{plan}");
        // An incremental sort orders the rows of the same time only.
        let sorts = plan.replace("Incremental Sort", "").contains("Sort  (");
        // Few orders have a rare status.
        let may_sort = name == "a rare status";
        assert!(may_sort || !sorts, "{name}:\n{plan}");
        assert!(!plan.contains("Seq Scan"), "{name}:\n{plan}");
    }
}
