//! API client of one service: its address and the calls of buyers and admins.

use reqwest::{Client, Method};
use serde_json::{Value, json};
use uuid::Uuid;

use super::{
    http::{Answer, Call},
    tokens,
};

/// Cheap to clone, so that every buyer of a race can have one.
#[derive(Clone, Debug)]
pub(crate) struct Front {
    pub(crate) url: String,
    client: Client,
}

impl Front {
    pub(crate) fn new(url: String, client: Client) -> Self {
        Self { url, client }
    }

    pub(crate) fn call(&self, method: Method, path: &str) -> Call {
        Call::new(self.client.request(method, format!("{}{path}", self.url)))
    }

    pub(crate) fn get(&self, path: &str) -> Call {
        self.call(Method::GET, path)
    }

    pub(crate) fn post(&self, path: &str) -> Call {
        self.call(Method::POST, path)
    }

    pub(crate) fn patch(&self, path: &str) -> Call {
        self.call(Method::PATCH, path)
    }

    /// An order as this user's browser would send it.
    pub(crate) fn order(&self, user: &str, product: Uuid, quantity: i64) -> Call {
        let body = json!({ "product_id": product, "quantity": quantity });
        self.post("/orders").bearer(&tokens::user(user)).json(&body)
    }

    pub(crate) async fn buy(&self, user: &str, product: Uuid, quantity: i64) -> Answer {
        self.order(user, product, quantity).send().await
    }

    /// An order that joins the waitlist if there are too few units.
    pub(crate) fn order_or_wait(&self, user: &str, product: Uuid, quantity: i64) -> Call {
        let body = json!({ "product_id": product, "quantity": quantity, "waitlist": true });
        self.post("/orders").bearer(&tokens::user(user)).json(&body)
    }

    pub(crate) async fn buy_or_wait(&self, user: &str, product: Uuid, quantity: i64) -> Answer {
        self.order_or_wait(user, product, quantity).send().await
    }

    /// Joins the waitlist and returns the position.
    pub(crate) async fn join(&self, user: &str, product: Uuid, quantity: i64) -> i64 {
        let answer = self.buy_or_wait(user, product, quantity).await;
        answer.success(202)["waitlist"]["position"]
            .as_i64()
            .unwrap()
    }

    pub(crate) fn place(&self, user: &str, product: Uuid) -> Call {
        let path = format!("/products/{product}/waitlist");
        self.get(&path).bearer(&tokens::user(user))
    }

    /// The user's position; `None` without a place.
    pub(crate) async fn position(&self, user: &str, product: Uuid) -> Option<i64> {
        let answer = self.place(user, product).send().await;
        if answer.status == 404 {
            answer.refusal(404, "not_waiting");
            return None;
        }
        answer.success(200)["position"].as_i64()
    }

    pub(crate) fn leave(&self, user: &str, product: Uuid) -> Call {
        let path = format!("/products/{product}/waitlist");
        let call = self.call(Method::DELETE, &path);
        call.bearer(&tokens::user(user))
    }

    /// A confirmation with the user's card.
    pub(crate) fn pay(&self, user: &str, order: Uuid, method: &str) -> Call {
        let call = self.post(&format!("/orders/{order}/confirm"));
        let body = json!({ "payment_method": method });
        call.bearer(&tokens::user(user)).json(&body)
    }

    /// Cancels an order as the owner of the token.
    pub(crate) fn cancel(&self, token: &str, order: &str) -> Call {
        self.post(&format!("/orders/{order}/cancel")).bearer(token)
    }

    /// The user's orders of the product, newest first.
    pub(crate) async fn orders_of(&self, user: &str, product: Uuid) -> Vec<Value> {
        let call = self.get("/orders").bearer(&tokens::user(user));
        let page = call.query(&[("product_id", &product.to_string())]);
        let page = page.send().await.success(200);
        page["orders"].as_array().unwrap().clone()
    }

    pub(crate) async fn create(&self, body: &Value) -> Answer {
        self.post("/products")
            .bearer(&tokens::admin())
            .json(body)
            .send()
            .await
    }

    /// A product with this stock; `more` adds to the body or replaces members of it.
    pub(crate) async fn product(&self, stock: i64, more: Value) -> Uuid {
        let answer = self.create(&product_body(stock, more)).await;
        answer.success(201)["id"].as_str().unwrap().parse().unwrap()
    }

    /// A product with a waitlist and one unit, which `owner` holds.
    pub(crate) async fn sold_out(&self) -> Uuid {
        let terms = json!({ "hold_seconds": 600, "waitlist": true });
        let product = self.product(1, terms).await;
        self.buy("owner", product, 1).await.success(201);
        product
    }

    pub(crate) async fn change(&self, product: Uuid, body: &Value) -> Answer {
        let call = self
            .patch(&format!("/products/{product}"))
            .bearer(&tokens::admin());
        call.json(body).send().await
    }

    pub(crate) async fn restock(&self, product: Uuid, quantity: i64) -> Answer {
        let call = self
            .post(&format!("/products/{product}/restock"))
            .bearer(&tokens::admin());
        call.json(&json!({ "quantity": quantity })).send().await
    }

    /// The status and body of `/health`.
    pub(crate) async fn health(&self) -> (u16, Value) {
        let answer = self.get("/health").send().await;
        (answer.status, answer.json())
    }
}

pub(crate) fn product_body(stock: i64, more: Value) -> Value {
    let mut body = json!({
        "sku": format!("sku-{}", Uuid::now_v7().simple()),
        "name": "A thing worth queueing for",
        "price": 1999,
        "currency": "EUR",
        "stock": stock,
    });
    let Value::Object(more) = more else {
        panic!("`more` must be a JSON object")
    };
    body.as_object_mut().unwrap().extend(more);
    body
}
