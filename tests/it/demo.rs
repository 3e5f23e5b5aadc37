//! `--demo` creates products and guest users for a trial; without it there are none.

use serde_json::json;

use crate::support::{
    shop::{Backend, Shop},
    tokens,
};

#[tokio::test]
async fn a_guest_buys_a_demo_product() {
    let mut shop = Shop::plan(Backend::Sqlite).flag("--demo").open().await;
    let products = shop.service().get("/products").send().await.success(200);
    let products = products["products"].as_array().unwrap().clone();
    let in_stock = products
        .iter()
        .find(|product| product["stock"].as_i64() > Some(0))
        .unwrap();

    let guest = shop
        .service()
        .post("/guest-sessions")
        .send()
        .await
        .success(201);
    let order = json!({ "product_id": in_stock["id"], "quantity": 1 });
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

    // The second start keeps the products of the first and adds no others.
    shop.restart(0).await;
    let again = shop.service().get("/products").send().await.success(200);
    assert_eq!(again["products"].as_array().unwrap().len(), products.len());
}

#[tokio::test]
async fn without_demo_there_are_no_guests_and_no_products() {
    let shop = Shop::open(Backend::Sqlite).await;

    let guest = shop.service().post("/guest-sessions").send().await;

    assert_eq!(guest.status, 404, "{guest:?}");
    guest.problem();
    let products = shop.service().get("/products").send().await.success(200);
    assert_eq!(products["products"], json!([]));
}

#[tokio::test]
async fn the_simulated_bank_accepts_only_secrets_of_payments() {
    let shop = Shop::plan(Backend::Sqlite).flag("--demo").open().await;
    let front = shop.service();
    let answer = |body| front.post("/guest-authentications").json(&body);
    let right = json!({ "client_secret": "sim_1_secret", "approve": true });

    let stranger = answer(right.clone()).send().await;
    stranger.refusal(401, "unauthenticated");
    let token = tokens::user("ann");
    for wrong in ["", "pi_1_secret", "sim_1"] {
        let body = json!({ "client_secret": wrong, "approve": true });
        let refused = answer(body).bearer(&token).send().await;
        refused.invalid("client_secret");
    }
    let body = json!({ "client_secret": "sim_1_secret" });
    assert_eq!(answer(body).bearer(&token).send().await.status, 422);
    assert_eq!(answer(right).bearer(&token).send().await.status, 204);
}
