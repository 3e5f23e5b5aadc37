//! `--demo` brings drops and guests to try the service out; without it there are none.

use serde_json::json;

use crate::support::shop::{Backend, Shop};

#[tokio::test]
async fn a_guest_of_the_demo_buys_from_a_demo_drop() {
    let mut shop = Shop::plan(Backend::Sqlite).flag("--demo").open().await;
    let drops = shop.service().get("/products").send().await.success(200);
    let drops = drops["products"].as_array().unwrap().clone();
    let open = drops
        .iter()
        .find(|drop| drop["stock"].as_i64() > Some(0))
        .unwrap();

    let guest = shop
        .service()
        .post("/guest-sessions")
        .send()
        .await
        .success(201);
    let order = json!({ "product_id": open["id"], "quantity": 1 });
    let call = shop
        .service()
        .post("/orders")
        .bearer(guest["token"].as_str().unwrap());
    let order = call.json(&order).send().await.success(201);
    assert_eq!(order["user_id"], guest["user_id"]);
    let another = shop
        .service()
        .post("/guest-sessions")
        .send()
        .await
        .success(201);
    assert_ne!(another["user_id"], guest["user_id"]);
    let call = shop
        .service()
        .post("/products")
        .bearer(guest["token"].as_str().unwrap());
    call.json(&json!({})).send().await.refusal(403, "forbidden");

    // The drops of the first start are still there after the second, and no others.
    shop.restart(0).await;
    let again = shop.service().get("/products").send().await.success(200);
    assert_eq!(again["products"].as_array().unwrap().len(), drops.len());
}

#[tokio::test]
async fn without_the_demo_there_are_no_guests_and_no_drops() {
    let shop = Shop::open(Backend::Sqlite).await;

    let guest = shop.service().post("/guest-sessions").send().await;

    assert_eq!(guest.status, 404, "{guest:?}");
    guest.problem();
    let products = shop.service().get("/products").send().await.success(200);
    assert_eq!(products["products"], json!([]));
}
