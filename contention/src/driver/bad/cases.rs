//! The table itself: what is sent, and the answer that the contract names.

use serde_json::json;

use super::Shelf;

#[derive(Clone, Debug)]
pub(super) struct Case {
    pub(super) name: &'static str,
    pub(super) method: &'static str,
    pub(super) path: String,
    pub(super) who: Who,
    pub(super) headers: Vec<(&'static str, String)>,
    pub(super) body: Vec<u8>,
    pub(super) expected: (u16, &'static str),
}

#[derive(Clone, Debug)]
pub(super) enum Who {
    NoToken,
    Buyer,
    Admin,
    /// The whole value of `Authorization`.
    Header(&'static str),
}

const JSON: (&str, &str) = ("content-type", "application/json");
/// Well-formed, and signed with another secret: HS256 of `{"sub":"eve","exp":32503680000}`.
const FORGED: &str = "Bearer eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.eyJzdWIiOiJldmUiLCJleHAiOjMyNTAzNjgwMDAwfQ.AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";
/// The same claims with `{"alg":"none","typ":"JWT"}`.
const UNSIGNED: &str =
    "Bearer eyJhbGciOiJub25lIiwidHlwIjoiSldUIn0.eyJzdWIiOiJldmUiLCJleHAiOjMyNTAzNjgwMDAwfQ.";
const NO_ID: &str = "01900000-0000-7000-8000-000000000000";

/// An order of the buyer's with this body, as JSON.
pub(super) fn order(body: impl Into<Vec<u8>>) -> Case {
    Case {
        name: "",
        method: "POST",
        path: "/orders".to_owned(),
        who: Who::Buyer,
        headers: vec![(JSON.0, JSON.1.to_owned())],
        body: body.into(),
        expected: (0, ""),
    }
}

fn get(path: impl Into<String>, who: Who) -> Case {
    Case {
        method: "GET",
        path: path.into(),
        who,
        headers: Vec::new(),
        ..order("")
    }
}

fn admin(method: &'static str, path: impl Into<String>, body: impl Into<Vec<u8>>) -> Case {
    Case {
        method,
        path: path.into(),
        who: Who::Admin,
        ..order(body)
    }
}

impl Case {
    fn by(self, who: Who) -> Self {
        Self { who, ..self }
    }

    fn with(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.headers.push((name, value.into()));
        self
    }

    fn typed(self, media_type: &str) -> Self {
        let headers = vec![(JSON.0, media_type.to_owned())];
        Self { headers, ..self }
    }

    fn named(self, name: &'static str, status: u16, code: &'static str) -> Self {
        let expected = (status, code);
        Self {
            name,
            expected,
            ..self
        }
    }
}

pub(super) fn all(shelf: &Shelf) -> Vec<Case> {
    let mut cases = unreadable(shelf);
    cases.extend(invalid(shelf));
    cases.extend(unauthenticated(shelf));
    cases.extend(refused(shelf));
    cases.extend(elsewhere(shelf));
    cases
}

fn purchase(product: &str, quantity: impl serde::Serialize) -> String {
    json!({ "product_id": product, "quantity": quantity }).to_string()
}

/// Refused before the token is read.
fn unreadable(shelf: &Shelf) -> Vec<Case> {
    let good = purchase(&shelf.plain, 1);
    let large = format!("{good}{}", " ".repeat(17 * 1024));
    let (bad, malformed) = (400, "malformed_json");
    vec![
        order(large).named("a body over 16 KiB", 413, "payload_too_large"),
        order(good.clone()).typed("text/plain").named(
            "a body that says it is text",
            415,
            "unsupported_media_type",
        ),
        order(good.clone())
            .typed("application/x-www-form-urlencoded")
            .named("a form", 415, "unsupported_media_type"),
        order("").named("no body", bad, malformed),
        order("{").named("half a body", bad, malformed),
        order("nonsense").named("no JSON", bad, malformed),
        order(b"{\"product_id\":\"\xff\"}".to_vec()).named("no UTF-8", bad, malformed),
        order(format!("{good}{good}")).named("two bodies", bad, malformed),
        order(good.replace('}', ",}")).named("a comma too many", bad, malformed),
    ]
}

/// JSON, but not what an order is.
fn invalid(shelf: &Shelf) -> Vec<Case> {
    let plain = &shelf.plain;
    let quantity = |text: &str| order(format!(r#"{{"product_id":"{plain}","quantity":{text}}}"#));
    let field = |value: serde_json::Value| order(value.to_string());
    let key = |key: String| order(purchase(plain, 1)).with("idempotency-key", key);
    let cases = [
        ("quantity 0", quantity("0")),
        ("a negative quantity", quantity("-1")),
        ("a broken quantity", quantity("1.5")),
        ("a quantity in words", quantity("\"one\"")),
        ("no quantity but null", quantity("null")),
        ("a quantity over i32", quantity("2147483648")),
        ("a quantity over i64", quantity("9223372036854775808")),
        ("a quantity as a power", quantity("1e308")),
        ("more than max_per_order", quantity("1000")),
        ("no quantity", field(json!({ "product_id": plain }))),
        ("no product", field(json!({ "quantity": 1 }))),
        (
            "a product that is no id",
            field(json!({ "product_id": "seat 1", "quantity": 1 })),
        ),
        (
            "a product that is a number",
            field(json!({ "product_id": 1, "quantity": 1 })),
        ),
        (
            "SQL for a product",
            field(json!({ "product_id": "'; DROP TABLE orders; --", "quantity": 1 })),
        ),
        (
            "a price of one's own",
            field(json!({ "product_id": plain, "quantity": 1, "price": 0 })),
        ),
        (
            "another's name",
            field(json!({ "product_id": plain, "quantity": 1, "user_id": "eve" })),
        ),
        (
            "a waitlist that is no yes or no",
            field(json!({ "product_id": plain, "quantity": 1, "waitlist": "yes" })),
        ),
        (
            "a list of orders",
            field(json!([{ "product_id": plain, "quantity": 1 }])),
        ),
        ("a bare number", order("7")),
        ("an empty key", key(String::new())),
        ("a key of 256 characters", key("k".repeat(256))),
        ("a key with a blank", key("two words".to_owned())),
        (
            "two keys",
            key("one".to_owned()).with("idempotency-key", "two"),
        ),
    ];
    let named = |(name, case): (&'static str, Case)| case.named(name, 422, "invalid_request");
    cases.into_iter().map(named).collect()
}

fn unauthenticated(shelf: &Shelf) -> Vec<Case> {
    let good = || order(purchase(&shelf.plain, 1));
    let cases = [
        ("no token", good().by(Who::NoToken)),
        ("an empty token", good().by(Who::Header("Bearer "))),
        (
            "no token but words",
            good().by(Who::Header("Bearer let me in")),
        ),
        (
            "another scheme",
            good().by(Who::Header("Basic ZXZlOmV2ZQ==")),
        ),
        (
            "a token that somebody else signed",
            good().by(Who::Header(FORGED)),
        ),
        (
            "a token that nobody signed",
            good().by(Who::Header(UNSIGNED)),
        ),
        (
            "a list of orders without a token",
            get("/orders", Who::NoToken),
        ),
        (
            "an order without a token",
            get(format!("/orders/{NO_ID}"), Who::NoToken),
        ),
        (
            "a product without a token",
            admin("POST", "/products", "{}").by(Who::NoToken),
        ),
    ];
    let named = |(name, case): (&'static str, Case)| case.named(name, 401, "unauthenticated");
    cases.into_iter().map(named).collect()
}

/// Good requests that cannot have what they want.
fn refused(shelf: &Shelf) -> Vec<Case> {
    let one = |product: &str| order(purchase(product, 1));
    let reused = order(purchase(&shelf.keyed, 2)).with("idempotency-key", shelf.used_key.clone());
    vec![
        one(NO_ID).named("no such product", 404, "product_not_found"),
        one(&shelf.not_yet).named("before the sale", 409, "not_on_sale"),
        one(&shelf.no_more).named("after the sale", 409, "not_on_sale"),
        reused.named("a key for another order", 422, "idempotency_key_reused"),
        one(&shelf.limited).named("more than max_per_user", 409, "purchase_limit"),
        one(&shelf.empty).named("nothing left", 409, "sold_out"),
        order(purchase(&shelf.one_left, 2)).named(
            "two, where one is left",
            409,
            "insufficient_stock",
        ),
    ]
}

/// Not an order at all.
fn elsewhere(shelf: &Shelf) -> Vec<Case> {
    let plain = &shelf.plain;
    let taken = json!({ "sku": shelf.sku, "name": "n", "price": 1, "currency": "EUR", "stock": 1 });
    let restock = |body: &str| admin("POST", format!("/products/{plain}/restock"), body);
    vec![
        get(format!("/orders/{NO_ID}"), Who::Buyer).named("no such order", 404, "order_not_found"),
        get("/orders/first", Who::Buyer).named("an order that is no id", 404, "order_not_found"),
        get("/orders?limit=0", Who::Buyer).named("a page of nothing", 422, "invalid_request"),
        get("/orders?status=lost", Who::Buyer).named(
            "a status that is none",
            422,
            "invalid_request",
        ),
        get(format!("/products/{NO_ID}"), Who::NoToken).named(
            "no product to read",
            404,
            "product_not_found",
        ),
        get("/products?limit=101", Who::NoToken).named("too large a page", 422, "invalid_request"),
        get("/nowhere", Who::NoToken).named("no such address", 404, "not_found"),
        admin("PUT", "/orders", "{}").named("no such method", 405, "method_not_allowed"),
        admin("POST", "/products", taken.to_string())
            .by(Who::Buyer)
            .named("a product by a buyer", 403, "forbidden"),
        admin("POST", "/products", taken.to_string()).named("a sku twice", 409, "sku_taken"),
        admin("POST", "/products", "{}").named("a product of nothing", 422, "invalid_request"),
        admin(
            "PATCH",
            format!("/products/{plain}"),
            r#"{"stock":1000000}"#,
        )
        .named("stock by a patch", 422, "invalid_request"),
        admin("PATCH", format!("/products/{NO_ID}"), "{}").named(
            "a patch of nothing",
            404,
            "product_not_found",
        ),
        restock(r#"{"quantity":0}"#).named("a restock of nothing", 422, "invalid_request"),
        restock(r#"{"quantity":-1}"#).named("a restock that takes", 422, "invalid_request"),
        restock(r#"{"quantity":2000000000}"#).named(
            "a restock over the bound",
            422,
            "invalid_request",
        ),
        restock(r#"{"quantity":1}"#)
            .by(Who::Buyer)
            .named("a restock by a buyer", 403, "forbidden"),
    ]
}
