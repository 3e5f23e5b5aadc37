//! Storefront reads during a sale: `GET /products/{id}/availability` and the product list.

use std::{collections::BTreeSet, time::Duration};

use rstest::rstest;
use serde_json::json;

use crate::support::{
    SOON,
    events::Events,
    eventually,
    http::Answer,
    shop::{Backend, Shop},
    tokens, when,
};

#[rstest]
#[case::sqlite(Backend::Sqlite)]
#[case::three_nodes(Backend::ThreeNodes)]
#[tokio::test]
async fn availability_is_at_most_a_second_old(#[case] backend: Backend) {
    let shop = Shop::open(backend).await;
    let more = json!({ "price": 500, "currency": "USD", "max_per_order": 4 });
    let product = shop.service().product(6, more).await;
    let path = format!("/products/{product}/availability");
    let first = shop.service().get(&path).send().await.success(200);
    assert_eq!(
        first,
        json!({
            "product_id": product, "available": true, "stock": 6, "max_per_order": 4,
            "price": 500, "currency": "USD", "message": "Stock: 6 remaining",
        })
    );

    shop.service().buy("ann", product, 1).await.success(201);
    for node in &shop.nodes {
        let fresh = |answer: Answer| answer.success(200)["message"] == "Stock: 5 remaining";
        let second = Duration::from_millis(1_300);
        eventually("the stock is at most a second old", second, async || {
            fresh(node.get(&path).send().await).then_some(())
        })
        .await;
    }
    shop.service().buy("bob", product, 4).await.success(201);
    shop.service().buy("carl", product, 1).await.success(201);
    eventually("nothing is available", SOON, async || {
        let body = shop.service().get(&path).send().await.success(200);
        (body["available"] == false && body["stock"] == 0).then_some(())
    })
    .await;
}

#[rstest]
#[case::sqlite(Backend::Sqlite)]
#[case::postgres(Backend::Postgres)]
#[tokio::test]
async fn the_paged_list_contains_every_product_once(#[case] backend: Backend) {
    let shop = Shop::open(backend).await;
    let service = shop.service();
    let mut created = BTreeSet::new();
    for _ in 0..12 {
        created.insert(service.product(1, json!({})).await.to_string());
    }

    let mut found = Vec::new();
    let mut cursor = None::<String>;
    for _ in 0..10 {
        let mut query = vec![("limit", "5")];
        query.extend(cursor.as_deref().map(|cursor| ("cursor", cursor)));
        let page = service
            .get("/products")
            .query(&query)
            .send()
            .await
            .success(200);
        let products = page["products"].as_array().unwrap();
        found.extend(
            products
                .iter()
                .map(|product| product["id"].as_str().unwrap().to_owned()),
        );
        cursor = page["next_cursor"].as_str().map(str::to_owned);
        if cursor.is_none() {
            break;
        }
    }

    assert_eq!(found.len(), 12);
    assert_eq!(BTreeSet::from_iter(found), created);
    let whole = service
        .get("/products")
        .bearer(&tokens::user("ann"))
        .send()
        .await
        .success(200);
    assert_eq!(whole["products"].as_array().unwrap().len(), 12);
}

/// Returned units are reserved while the first waitlist entry requests more of them: availability,
/// the stock stream and an order must all report that none is for sale.
#[rstest]
#[case::sqlite(Backend::Sqlite)]
#[case::three_nodes(Backend::ThreeNodes)]
#[tokio::test]
async fn units_reserved_for_the_waitlist_are_not_for_sale(#[case] backend: Backend) {
    let shop = Shop::open(backend).await;
    let service = shop.service();
    let terms = json!({ "hold_seconds": 600, "waitlist": true });
    let product = service.product(3, terms).await;
    service.buy("ann", product, 2).await.success(201);
    service.buy("bob", product, 1).await.success(201);
    assert_eq!(service.join("carl", product, 3).await, 1);
    let order = &service.orders_of("ann", product).await[0];
    let cancelled = service.cancel(&tokens::user("ann"), order["id"].as_str().unwrap());
    cancelled.send().await.success(200);

    for node in &shop.nodes {
        let path = format!("/products/{product}");
        eventually("the product has the returned units", SOON, async || {
            let body = node.get(&path).send().await.success(200);
            when(body["stock"] == 2 && body["stock_reserved"] == 2)
        })
        .await;
        let availability = node.get(&format!("{path}/availability")).send().await;
        let availability = availability.success(200);
        assert_eq!(availability["available"], false, "{availability}");
        assert_eq!(availability["stock"], 0, "{availability}");
        assert_eq!(availability["message"], "Stock: 0 remaining");
        let mut events = Events::open(node.get(&format!("{path}/events"))).await;
        assert_eq!(events.next(SOON).await["stock"], 0);
        node.buy("dora", product, 1).await.refusal(409, "sold_out");
    }
}
