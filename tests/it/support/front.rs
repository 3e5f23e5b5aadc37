//! The front door of a service: its address and the calls that buyers and admins make.

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

    pub(crate) async fn create(&self, body: &Value) -> Answer {
        self.post("/products")
            .bearer(&tokens::admin())
            .json(body)
            .send()
            .await
    }

    /// A product with so much stock; `more` adds to the body or replaces members of it.
    pub(crate) async fn product(&self, stock: i64, more: Value) -> Uuid {
        let answer = self.create(&product_body(stock, more)).await;
        answer.success(201)["id"].as_str().unwrap().parse().unwrap()
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
        panic!("members of a product are wanted")
    };
    body.as_object_mut().unwrap().extend(more);
    body
}
