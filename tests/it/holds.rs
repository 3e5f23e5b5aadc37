//! Hold expiry: an unpaid hold ends on time and once on any live node; its units are sold again.

use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use entities::{
    order_status::OrderStatus, orders, waitlist_entries as entries, waitlist_status::WaitlistStatus,
};
use rstest::rstest;
use sea_orm::ActiveValue::{NotSet, Set};
use serde_json::{Value, json};
use uuid::Uuid;

use crate::support::{
    SOON, eventually,
    front::Front,
    in_seconds,
    load::{Load, door},
    shop::{Backend, Shop},
    tokens, when,
};

/// The contract allows one second; a test machine may be busy with other tests.
const DELAY_MAX: TimeDelta = TimeDelta::seconds(3);

fn time(order: &Value, field: &str) -> DateTime<Utc> {
    order[field].as_str().unwrap().parse().unwrap()
}

/// Expired holds, as counted by all nodes.
async fn expired_count(shop: &Shop) -> f64 {
    let mut ended = 0.0;
    for node in &shop.nodes {
        let metrics = node.metrics().await;
        ended += metrics
            .value("flash_sale_holds_expired_total", &[])
            .unwrap();
    }
    ended
}

async fn eventually_expired(shop: &Shop, product: Uuid) {
    eventually("the holds end", SOON, async || {
        let statuses = shop.ledger.statuses(product).await;
        when(
            statuses
                .values()
                .all(|status| *status == OrderStatus::Expired),
        )
    })
    .await;
}

#[rstest]
#[case::sqlite(Backend::Sqlite)]
#[case::three_nodes(Backend::ThreeNodes)]
#[tokio::test]
async fn units_of_an_unpaid_order_are_sold_again(#[case] backend: Backend) {
    let shop = Shop::open(backend).await;
    let service = shop.service();
    let product = service.product(2, json!({ "hold_seconds": 1 })).await;
    let held = service.buy("ann", product, 2).await.success(201);
    let refusal = service.buy("bob", product, 1).await;
    refusal.refusal(409, "sold_out");

    let next = eventually("the units are for sale again", SOON, async || {
        let answer = service.buy("bob", product, 2).await;
        (answer.status == 201).then(|| answer.json())
    })
    .await;

    let end = time(&held, "expires_at");
    let (from, until) = (end, end + DELAY_MAX);
    let sold = time(&next, "created_at");
    assert!(
        (from..until).contains(&sold),
        "sold at {sold}, the hold ended at {end}"
    );
    let order = format!("/orders/{}", held["id"].as_str().unwrap());
    let order = service
        .get(&order)
        .bearer(&tokens::user("ann"))
        .send()
        .await;
    assert_eq!(order.success(200)["status"], "expired");
    shop.assert_books(product).await;
}

/// A killed process may leave its last lock behind until the TTL of the lock ends.
async fn eventually_sold(front: &Front, product: Uuid) {
    eventually("bob buys", SOON, async || {
        when(front.buy("bob", product, 1).await.status == 201)
    })
    .await;
}

#[rstest]
#[case::sqlite(Backend::Sqlite)]
#[case::postgres(Backend::Postgres)]
#[tokio::test]
async fn a_hold_expires_after_a_restart(#[case] backend: Backend) {
    let mut shop = Shop::open(backend).await;
    let product = shop
        .service()
        .product(1, json!({ "hold_seconds": 1 }))
        .await;
    shop.service().buy("ann", product, 1).await.success(201);

    shop.restart(0).await;

    eventually_expired(&shop, product).await;
    eventually_sold(shop.service(), product).await;
    shop.assert_books(product).await;
}

#[tokio::test]
async fn a_hold_expires_when_the_node_that_made_it_is_killed() {
    let mut shop = Shop::plan(Backend::Postgres).nodes(2).open().await;
    let product = shop
        .service()
        .product(1, json!({ "hold_seconds": 1 }))
        .await;
    shop.service().buy("ann", product, 1).await.success(201);

    shop.nodes[0].process.kill();

    eventually_expired(&shop, product).await;
    eventually_sold(&shop.nodes[1], product).await;
    shop.assert_books(product).await;
}

#[rstest]
#[case::sqlite(Backend::Sqlite)]
#[case::postgres(Backend::Postgres)]
#[tokio::test]
async fn an_order_that_is_being_paid_does_not_expire(#[case] backend: Backend) {
    let shop = Shop::open(backend).await;
    let service = shop.service();
    let product = service.product(5, json!({ "hold_seconds": 600 })).await;
    service.buy("payer", product, 2).await.success(201);
    let pay = "UPDATE orders SET status = 'confirming', expires_at = created_at";
    shop.ledger.execute(pay).await;
    let shorter = service.change(product, &json!({ "hold_seconds": 1 })).await;
    shorter.success(200);
    service.buy("other", product, 2).await.success(201);

    eventually("the other hold ends", SOON, async || {
        when(shop.ledger.product(product).await.stock == 3)
    })
    .await;
    // Another hold begins and ends, long after the payer's hold was over.
    service.buy("later", product, 3).await.success(201);
    eventually("the later hold ends", SOON, async || {
        when(shop.ledger.product(product).await.stock == 3)
    })
    .await;

    let statuses = shop.ledger.statuses(product).await;
    assert_eq!(statuses["payer"], OrderStatus::Confirming);
    assert_eq!(statuses["other"], OrderStatus::Expired);
    shop.assert_books(product).await;
}

/// New buyers arrive constantly on all nodes, so every unit is sold and returned repeatedly.
#[rstest]
#[case::sqlite(Backend::Sqlite)]
#[case::three_nodes(Backend::ThreeNodes)]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn holds_expire_on_time_and_once_under_load(#[case] backend: Backend) {
    let shop = Shop::open(backend).await;
    let product = shop
        .service()
        .product(300, json!({ "hold_seconds": 1 }))
        .await;
    let doors: Vec<_> = shop.nodes.iter().map(|node| door(node.front())).collect();
    let load = Load::start(&doors, product, 12);

    eventually("every unit was sold three times", SOON * 2, async || {
        let orders = shop.ledger.orders(product).await;
        let now: DateTime<Utc> = in_seconds(0).parse().unwrap();
        let late = |order: &&orders::Model| {
            let overdue = order.expires_at.is_some_and(|end| end + DELAY_MAX < now);
            overdue && order.status == OrderStatus::Pending
        };
        let late: Vec<_> = orders.iter().filter(late).collect();
        assert!(late.is_empty(), "{now}: {late:?}");
        when(orders.len() >= 900)
    })
    .await;

    let received = load.finish().await;
    assert_eq!((received.broken, received.refused("internal")), (0, 0));
    eventually_expired(&shop, product).await;
    let orders = shop.ledger.orders(product).await.len();
    assert_eq!(orders, received.orders.len());
    let orders = f64::from(u32::try_from(orders).unwrap());
    eventually("each hold is counted once", SOON, async || {
        let ended = expired_count(&shop).await;
        assert!(ended <= orders, "{ended} of {orders}");
        when(ended >= orders)
    })
    .await;
    assert_eq!(shop.ledger.product(product).await.stock, 300);
    shop.assert_books(product).await;
}

const HOLDS: usize = 10_000;

fn pending_order(product: Uuid, number: usize, end: DateTime<Utc>) -> orders::ActiveModel {
    orders::ActiveModel {
        id: Set(Uuid::now_v7()),
        reference: Set(format!("FS-{number:08}")),
        product_id: Set(product),
        user_id: Set(format!("holder-{number}")),
        quantity: Set(1),
        unit_price: Set(1),
        currency: Set("EUR".to_owned()),
        status: Set(OrderStatus::Pending),
        created_at: Set(end - TimeDelta::minutes(5)),
        expires_at: Set(Some(end)),
        payment_attempt: Set(0),
        from_waitlist: Set(false),
        ..Default::default()
    }
}

fn waiting_entry(product: Uuid, number: usize, at: DateTime<Utc>) -> entries::ActiveModel {
    entries::ActiveModel {
        position: NotSet,
        id: Set(Uuid::now_v7()),
        product_id: Set(product),
        user_id: Set(format!("waiter-{number}")),
        quantity: Set(1),
        status: Set(WaitlistStatus::Waiting),
        created_at: Set(at),
        ..Default::default()
    }
}

#[rstest]
#[case::sqlite(Backend::Sqlite)]
#[case::three_nodes(Backend::ThreeNodes)]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ten_thousand_expired_holds_go_to_ten_thousand_waiting_buyers(#[case] backend: Backend) {
    let shop = Shop::open(backend).await;
    let terms = json!({ "hold_seconds": 600, "waitlist": true });
    let product = shop.service().product(10_000, terms).await;
    let end: DateTime<Utc> = in_seconds(3600).parse().unwrap();
    let rows = (0..HOLDS).map(|number| pending_order(product, number, end));
    shop.ledger.plant(rows.collect()).await;
    let rows = (0..HOLDS).map(|number| waiting_entry(product, number, end));
    shop.ledger.plant(rows.collect()).await;
    let sell = "UPDATE products SET stock = 0, version = version + 1";
    shop.ledger.execute(sell).await;

    let now = in_seconds(0);
    let expire = format!("UPDATE orders SET expires_at = '{now}' WHERE status = 'pending'");
    shop.ledger.execute(&expire).await;

    eventually("the queue is empty", Duration::from_secs(40), async || {
        when(shop.ledger.queue(product).await.is_empty())
    })
    .await;
    let rows = shop.ledger.orders(product).await;
    let (old, new): (Vec<_>, Vec<_>) = rows.into_iter().partition(|row| !row.from_waitlist);
    assert_eq!((old.len(), new.len()), (HOLDS, HOLDS));
    assert!(old.iter().all(|row| row.status == OrderStatus::Expired));
    assert!(new.iter().all(|row| row.status == OrderStatus::Pending));
    for entry in shop.ledger.entries(product).await {
        assert_eq!(entry.status, WaitlistStatus::Offered);
    }
    assert!((expired_count(&shop).await - 10_000.0).abs() < 0.5);
    shop.assert_books(product).await;
}
