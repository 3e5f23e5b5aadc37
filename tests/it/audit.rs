//! The audit trail: every change of an admin and every cancellation leaves one row and a log line.

use rstest::rstest;
use serde_json::{Value, json};
use uuid::Uuid;

use crate::support::{
    front::{Front, product_body},
    http::Answer,
    race::together,
    shop::{Backend, Shop},
    tokens,
};

fn id(body: &Value) -> String {
    body["id"].as_str().unwrap().to_owned()
}

async fn read(front: &Front, query: &[(&str, &str)]) -> Value {
    let call = front.get("/audit").bearer(&tokens::admin()).query(query);
    call.send().await.success(200)
}

fn rows(page: &Value) -> &Vec<Value> {
    page["audit"].as_array().unwrap()
}

async fn cancel(front: &Front, token: &str, order: &str, request: &str) -> Answer {
    let call = front.cancel(token, order).header("x-request-id", request);
    call.send().await
}

#[rstest]
#[case::sqlite(Backend::Sqlite)]
#[case::postgres(Backend::Postgres)]
#[tokio::test]
async fn every_change_and_cancellation_leaves_a_row_and_a_log_line(#[case] backend: Backend) {
    let shop = Shop::open(backend).await;
    let service = shop.service();
    let admin = tokens::admin();

    let body = product_body(5, json!({ "price": 100, "hold_seconds": 600 }));
    let create = service.post("/products").bearer(&admin).json(&body);
    let product = create.header("x-request-id", "call-1").send().await;
    let product: Uuid = id(&product.success(201)).parse().unwrap();
    let path = format!("/products/{product}");
    let change = json!({ "price": 200, "name": "Second\nname" });
    let change = service.patch(&path).bearer(&admin).json(&change);
    let changed = change.header("x-request-id", "call-2").send().await;
    changed.success(200);
    let restock = service.post(&format!("{path}/restock")).bearer(&admin);
    let restock = restock.json(&json!({ "quantity": 3 }));
    let restocked = restock.header("x-request-id", "call-3").send().await;
    restocked.success(200);
    let ann = id(&service.buy("ann", product, 2).await.success(201));
    cancel(service, &tokens::user("ann"), &ann, "call-4")
        .await
        .success(200);
    let bob = id(&service.buy("bob", product, 1).await.success(201));
    cancel(service, &admin, &bob, "call-5").await.success(200);

    let page = read(service, &[]).await;
    let told: Vec<_> = rows(&page)
        .iter()
        .rev()
        .map(|row| {
            let texts = ["actor", "role", "action", "target", "request_id"];
            texts.map(|field| row[field].as_str().unwrap().to_owned())
        })
        .collect();
    let product = product.to_string();
    let row = |texts: [&str; 5]| texts.map(str::to_owned);
    assert_eq!(
        told,
        [
            row(["the-admin", "admin", "product.create", &product, "call-1"]),
            row(["the-admin", "admin", "product.change", &product, "call-2"]),
            row(["the-admin", "admin", "product.restock", &product, "call-3"]),
            row(["ann", "buyer", "order.cancel", &ann, "call-4"]),
            row(["the-admin", "admin", "order.cancel", &bob, "call-5"]),
        ]
    );
    assert_contents(rows(&page), &body);
    let log = shop.log();
    for [actor, role, action, target, request] in &told {
        let line = format!("{role} {actor}: {action} {target}");
        let logged = log.lines().filter(|log| log.contains(&line));
        let lines: Vec<_> = logged.collect();
        assert_eq!(lines.len(), 1, "{line}: {log}");
        assert!(lines[0].contains(" audit: ") && lines[0].contains(request));
    }
}

/// The states before and after, newest row first.
#[track_caller]
fn assert_contents(rows: &[Value], body: &Value) {
    let states = |row: &Value| (row["before"].clone(), row["after"].clone());
    for cancelled in &rows[..2] {
        let (before, after) = states(cancelled);
        assert_eq!(before, json!({ "status": "pending" }));
        assert_eq!(after, json!({ "status": "cancelled" }));
    }
    let (before, after) = states(&rows[2]);
    assert_eq!(before, json!({ "stock_total": 5, "stock": 5 }));
    assert_eq!(after, json!({ "stock_total": 8, "stock": 8 }));
    let (before, after) = states(&rows[3]);
    assert_eq!(
        (&before["price"], &after["price"]),
        (&json!(100), &json!(200))
    );
    assert_eq!(after["name"], "Second\nname");
    assert_eq!(
        (&before["sku"], &before["stock"]),
        (&Value::Null, &Value::Null)
    );
    let (before, after) = states(&rows[4]);
    assert_eq!(before, Value::Null);
    for field in ["sku", "name", "price", "stock"] {
        assert_eq!(after[field], body[field], "{field}");
    }
}

#[rstest]
#[case::sqlite(Backend::Sqlite)]
#[case::postgres(Backend::Postgres)]
#[tokio::test]
async fn refused_calls_and_orders_leave_no_row(#[case] backend: Backend) {
    let shop = Shop::open(backend).await;
    let service = shop.service();
    let body = product_body(5, json!({ "hold_seconds": 600 }));
    let product: Uuid = id(&service.create(&body).await.success(201))
        .parse()
        .unwrap();
    let order = id(&service.buy("ann", product, 1).await.success(201));
    let before = shop.ledger.audit().await;
    assert_eq!(before.len(), 1);

    service.create(&body).await.refusal(409, "sku_taken");
    let window = json!({ "starts_at": "2030-01-02T00:00:00Z", "ends_at": "2030-01-01T00:00:00Z" });
    service.change(product, &window).await.invalid("ends_at");
    let unknown = Uuid::now_v7();
    service.restock(unknown, 1).await.problem();
    service.restock(product, 1_000_000_000).await.problem();
    let name = json!({ "name": "x" });
    service.change(unknown, &name).await.problem();
    cancel(service, &tokens::user("bob"), &order, "r")
        .await
        .problem();

    assert_eq!(shop.ledger.audit().await, before);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn concurrent_cancels_leave_one_row() {
    let plan = Shop::plan(Backend::Postgres).nodes(2);
    let shop = plan.patient().open().await;
    let service = shop.service();
    let product = service.product(9, json!({ "hold_seconds": 600 })).await;
    let order = id(&service.buy("ann", product, 1).await.success(201));
    let tokens = [tokens::user("ann"), tokens::admin()];
    let calls = (0..40).map(|call| shop.nodes[call % 2].cancel(&tokens[call / 2 % 2], &order));

    together(calls.collect()).await;

    let rows = shop.ledger.audit().await;
    let cancels = rows.iter().filter(|row| row.action == "order.cancel");
    assert_eq!(cancels.count(), 1);
}

#[rstest]
#[case::sqlite(Backend::Sqlite)]
#[case::postgres(Backend::Postgres)]
#[tokio::test]
async fn the_database_keeps_every_row_as_it_was_written(#[case] backend: Backend) {
    let shop = Shop::open(backend).await;
    shop.service().product(5, json!({})).await;
    let before = shop.ledger.audit().await;

    let mut statements = vec!["UPDATE audit SET actor = 'nobody'", "DELETE FROM audit"];
    statements.push(if backend == Backend::Sqlite {
        "REPLACE INTO audit SELECT * FROM audit"
    } else {
        "TRUNCATE audit"
    });
    for statement in statements {
        let refusal = shop.ledger.refusal(statement).await;
        assert!(refusal.contains("audit is append-only"), "{refusal}");
    }

    assert_eq!(before.len(), 1);
    assert_eq!(shop.ledger.audit().await, before);
}

#[rstest]
#[case::sqlite(Backend::Sqlite)]
#[case::postgres(Backend::Postgres)]
#[tokio::test]
async fn admins_filter_the_trail_and_read_it_page_by_page(#[case] backend: Backend) {
    let shop = Shop::open(backend).await;
    let service = shop.service();
    let first = service.product(5, json!({ "hold_seconds": 600 })).await;
    let second = service.product(5, json!({})).await;
    for quantity in 1..=5 {
        service.restock(first, quantity).await.success(200);
    }
    let order = id(&service.buy("ann", first, 1).await.success(201));
    cancel(service, &tokens::user("ann"), &order, "r")
        .await
        .success(200);

    let all = rows(&read(service, &[]).await).clone();
    assert_eq!(all.len(), 8);
    let mut found = Vec::new();
    let mut page = read(service, &[("limit", "3")]).await;
    loop {
        found.extend(rows(&page).clone());
        let Some(cursor) = page["next_cursor"].as_str() else {
            break;
        };
        page = read(service, &[("limit", "3"), ("cursor", cursor)]).await;
    }
    assert_eq!(found, all);

    let (first, second) = (first.to_string(), second.to_string());
    let at = |row: usize| all[row]["at"].as_str().unwrap();
    for (query, count) in [
        (vec![("target", first.as_str())], 6),
        (vec![("target", second.as_str())], 1),
        (vec![("target", order.as_str()), ("actor", "ann")], 1),
        (vec![("target", first.as_str()), ("actor", "ann")], 0),
        (vec![("actor", "the-admin")], 7),
        (vec![("created_after", at(7))], 8),
        (vec![("created_after", at(0))], 1),
        (vec![("created_before", at(7))], 0),
        (vec![("created_before", at(0))], 7),
        (vec![("created_after", at(5)), ("created_before", at(2))], 3),
    ] {
        let page = read(service, &query).await;
        assert_eq!(rows(&page).len(), count, "{query:?}");
    }
}

#[tokio::test]
async fn only_admins_read_the_trail() {
    let shop = Shop::open(Backend::Sqlite).await;
    let service = shop.service();
    let anonymous = service.get("/audit").send().await;
    anonymous.refusal(401, "unauthenticated");
    let buyer = service.get("/audit").bearer(&tokens::user("ann"));
    buyer.send().await.refusal(403, "forbidden");
    for (field, value) in [
        ("target", "1"),
        ("actor", "\0"),
        ("created_after", "yesterday"),
        ("created_before", "+200000-01-01T00:00:00Z"),
        ("limit", "101"),
        ("cursor", "x"),
    ] {
        let call = service.get("/audit").bearer(&tokens::admin());
        call.query(&[(field, value)]).send().await.invalid(field);
    }
}
