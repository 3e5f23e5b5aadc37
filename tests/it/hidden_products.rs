//! `published: false` hides a product from everybody but admins; `DELETE` archives one without live
//! orders.

use reqwest::Method;
use rstest::rstest;
use serde_json::{Value, json};
use uuid::Uuid;

use crate::support::{
    SOON,
    events::Events,
    eventually,
    front::Front,
    race::together,
    shop::{Backend, Shop},
    tokens, when,
};

const HIDE: fn() -> Value = || json!({ "published": false });
const PUBLISH: fn() -> Value = || json!({ "published": true });

async fn listed(front: &Front, product: Uuid, token: Option<&str>) -> bool {
    let mut call = front.get("/products").query(&[("limit", "100")]);
    if let Some(token) = token {
        call = call.bearer(token);
    }
    let page = call.send().await.success(200);
    let products = page["products"].as_array().unwrap();
    products.iter().any(|it| it["id"] == json!(product))
}

/// Whether nobody without the role admin finds the product on this node.
async fn is_absent(front: &Front, product: Uuid) -> bool {
    let buyer = tokens::user("ann");
    for tail in ["", "/availability", "/events"] {
        let path = format!("/products/{product}{tail}");
        for call in [front.get(&path), front.get(&path).bearer(&buyer)] {
            if call.stream().await.status() != 404 {
                return false;
            }
        }
    }
    for call in [
        front.order("ann", product, 1),
        front.order("ann", product, 11),
        front.order("ann", product, 1).key("k"),
        front.order_or_wait("ann", product, 1),
    ] {
        if call.send().await.code() != "product_not_found" {
            return false;
        }
    }
    !listed(front, product, None).await && !listed(front, product, Some(&buyer)).await
}

fn archive(front: &Front, product: Uuid) -> crate::support::http::Call {
    let path = format!("/products/{product}");
    front.call(Method::DELETE, &path).bearer(&tokens::admin())
}

#[rstest]
#[case::sqlite(Backend::Sqlite)]
#[case::three_nodes(Backend::ThreeNodes)]
#[tokio::test]
async fn a_hidden_product_is_there_for_admins_only(#[case] backend: Backend) {
    let shop = Shop::open(backend).await;
    let service = shop.service();
    let admin = tokens::admin();
    let terms = json!({ "published": false, "waitlist": true });
    let product = service.product(3, terms).await;

    for node in &shop.nodes {
        assert!(is_absent(node, product).await);
        let path = format!("/products/{product}");
        let read = node.get(&path).bearer(&admin).send().await.success(200);
        assert_eq!(
            (&read["published"], &read["stock"]),
            (&json!(false), &json!(3))
        );
        assert!(listed(node, product, Some(&admin)).await);
    }
    assert!(shop.ledger.orders(product).await.is_empty());

    service.change(product, &PUBLISH()).await.success(200);
    let path = format!("/products/{product}");
    service.get(&path).send().await.success(200);
    assert!(listed(service, product, None).await);
    for node in &shop.nodes {
        eventually("the product is on sale everywhere", SOON, async || {
            let read = node.get(&format!("{path}/availability")).send().await;
            when(read.status == 200)
        })
        .await;
        node.buy("ann", product, 1).await.success(201);
    }
    shop.assert_books(product).await;
}

#[rstest]
#[case::sqlite(Backend::Sqlite)]
#[case::three_nodes(Backend::ThreeNodes)]
#[tokio::test]
async fn hiding_ends_sales_reads_and_streams(#[case] backend: Backend) {
    let shop = Shop::open(backend).await;
    let service = shop.service();
    let product = service.product(9, json!({ "hold_seconds": 600 })).await;
    let path = format!("/products/{product}");
    let order = service.order("bob", product, 1).key("bobs").send().await;
    let order = order.success(201);
    let mut streams = Vec::new();
    for node in &shop.nodes {
        node.get(&path).send().await.success(200);
        node.get(&format!("{path}/availability")).send().await;
        streams.push(Events::open(node.get(&format!("{path}/events"))).await);
    }

    service.change(product, &HIDE()).await.success(200);

    assert!(is_absent(service, product).await);
    for (node, stream) in shop.nodes.iter().zip(&mut streams) {
        stream.end(SOON).await;
        eventually("it is hidden everywhere", SOON, async || {
            when(is_absent(node, product).await)
        })
        .await;
    }
    // What its buyers have stays theirs.
    let replay = service.order("bob", product, 1).key("bobs").send().await;
    assert_eq!(replay.success(201)["id"], order["id"]);
    let id = order["id"].as_str().unwrap();
    let cancelled = service.cancel(&tokens::user("bob"), id).send().await;
    cancelled.success(200);
    shop.assert_books(product).await;
}

/// The sold-out gate answers from memory.
#[rstest]
#[case::sqlite(Backend::Sqlite)]
#[case::three_nodes(Backend::ThreeNodes)]
#[tokio::test]
async fn the_sold_out_gate_does_not_reveal_a_hidden_product(#[case] backend: Backend) {
    let shop = Shop::open(backend).await;
    let service = shop.service();
    let product = service.product(0, json!({})).await;
    for node in &shop.nodes {
        let gate = [("outcome", "sold_out")];
        eventually("the gate refuses", SOON, async || {
            let lanes = node.metrics().await;
            node.buy("ann", product, 1).await.refusal(409, "sold_out");
            let name = "flash_sale_batch_orders_sum";
            let later = node.metrics().await;
            later.value("flash_sale_orders_total", &gate)?;
            when(later.value(name, &[]) == lanes.value(name, &[]))
        })
        .await;
    }

    service.change(product, &HIDE()).await.success(200);

    let refused = service.buy("ann", product, 1).await;
    refused.refusal(404, "product_not_found");
    for node in &shop.nodes {
        eventually("every gate is closed", SOON, async || {
            when(node.buy("ann", product, 1).await.code() == "product_not_found")
        })
        .await;
        for _ in 0..20 {
            let refused = node.buy("ann", product, 1).await;
            refused.refusal(404, "product_not_found");
        }
    }
}

#[rstest]
#[case::sqlite(Backend::Sqlite)]
#[case::postgres(Backend::Postgres)]
#[tokio::test]
async fn a_hidden_product_offers_nothing_to_its_waitlist(#[case] backend: Backend) {
    let shop = Shop::open(backend).await;
    let service = shop.service();
    let product = service.sold_out().await;
    assert_eq!(service.join("bob", product, 1).await, 1);
    let owner = service.orders_of("owner", product).await;
    service.change(product, &HIDE()).await.success(200);

    let id = owner[0]["id"].as_str().unwrap();
    let cancelled = service.cancel(&tokens::user("owner"), id).send().await;
    cancelled.success(200);
    assert_eq!(service.position("bob", product).await, Some(1));
    shop.assert_books(product).await;

    service.change(product, &PUBLISH()).await.success(200);
    eventually("the unit is offered", SOON, async || {
        when(service.orders_of("bob", product).await.len() == 1)
    })
    .await;
    shop.assert_books(product).await;
}

#[rstest]
#[case::sqlite(Backend::Sqlite)]
#[case::postgres(Backend::Postgres)]
#[tokio::test]
async fn only_a_product_without_live_orders_is_archived(#[case] backend: Backend) {
    let shop = Shop::open(backend).await;
    let service = shop.service();
    let admin = tokens::admin();
    let terms = json!({ "sku": "again", "hold_seconds": 600, "waitlist": true });
    let product = service.product(1, terms.clone()).await;
    let order = service.buy("ann", product, 1).await.success(201);
    let path = format!("/products/{product}");

    let refused = archive(service, product).send().await;
    refused.refusal(409, "has_live_orders");
    service.get(&path).send().await.success(200);
    assert_eq!(service.join("bob", product, 5).await, 1);
    let id = order["id"].as_str().unwrap();
    service.cancel(&admin, id).send().await.success(200);
    for _ in 0..2 {
        assert_eq!(archive(service, product).send().await.status, 204);
    }

    assert!(is_absent(service, product).await);
    let read = service.get(&path).bearer(&admin).send().await.success(200);
    assert!(read["archived_at"].is_string(), "{read}");
    assert!(!listed(service, product, Some(&admin)).await);
    let change = service.change(product, &json!({ "name": "x" })).await;
    change.refusal(404, "product_not_found");
    let restock = service.restock(product, 1).await;
    restock.refusal(404, "product_not_found");
    eventually("its places end", SOON, async || {
        when(service.position("bob", product).await.is_none())
    })
    .await;
    let rows = shop.ledger.audit().await;
    let archived = rows.iter().filter(|row| row.action == "product.archive");
    assert_eq!(archived.count(), 1);
    // Its sku is free.
    let second = service.product(1, terms).await;
    service.buy("ann", second, 1).await.success(201);
    let unknown = archive(service, Uuid::now_v7()).send().await;
    unknown.refusal(404, "product_not_found");
    shop.assert_books(product).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn orders_and_the_archiving_of_their_product_exclude_each_other() {
    let plan = Shop::plan(Backend::Postgres).nodes(2);
    let shop = plan.patient().open().await;
    for round in 0..12 {
        let product = shop.service().product(50, json!({})).await;
        let mut calls: Vec<_> = (0..12)
            .map(|buyer| shop.nodes[buyer % 2].order(&format!("buyer-{buyer}"), product, 1))
            .collect();
        calls.insert(round, archive(&shop.nodes[round % 2], product));

        let answers = together(calls).await;

        let archived = shop.ledger.product(product).await.archived_at.is_some();
        let sold = answers.iter().filter(|answer| answer.status == 201).count();
        assert_eq!(shop.ledger.orders(product).await.len(), sold);
        assert!(!archived || sold == 0, "{answers:?}");
        assert!(archived || sold > 0, "{answers:?}");
    }
}
