//! The catalogue of bad requests: each with the status and code that the contract names.
//!
//! A test oracle, so codes and statuses are literals and not taken from the service.

use serde_json::json;

use super::Products;

#[derive(Clone, Debug)]
pub(super) struct Case {
    pub(super) name: &'static str,
    pub(super) method: &'static str,
    pub(super) path: String,
    pub(super) caller: Caller,
    pub(super) headers: Vec<(&'static str, String)>,
    pub(super) body: Vec<u8>,
    pub(super) expected: (u16, &'static str),
}

#[derive(Clone, Debug)]
pub(super) enum Caller {
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

/// An order of the buyer with this body, as JSON.
pub(super) fn order(body: impl Into<Vec<u8>>) -> Case {
    Case {
        name: "",
        method: "POST",
        path: "/orders".to_owned(),
        caller: Caller::Buyer,
        headers: vec![(JSON.0, JSON.1.to_owned())],
        body: body.into(),
        expected: (0, ""),
    }
}

fn get(path: impl Into<String>, caller: Caller) -> Case {
    Case {
        method: "GET",
        path: path.into(),
        caller,
        headers: Vec::new(),
        ..order("")
    }
}

fn admin(method: &'static str, path: impl Into<String>, body: impl Into<Vec<u8>>) -> Case {
    Case {
        method,
        path: path.into(),
        caller: Caller::Admin,
        ..order(body)
    }
}

impl Case {
    fn by(self, caller: Caller) -> Self {
        Self { caller, ..self }
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

pub(super) fn all(products: &Products) -> Vec<Case> {
    let mut cases = unreadable(products);
    cases.extend(invalid(products));
    cases.extend(unauthenticated(products));
    cases.extend(refused(products));
    cases.extend(reads());
    cases.extend(administration(products));
    cases
}

fn purchase(product: &str, quantity: impl serde::Serialize) -> String {
    json!({ "product_id": product, "quantity": quantity }).to_string()
}

/// Refused before the token is read.
fn unreadable(products: &Products) -> Vec<Case> {
    let good = purchase(&products.plain, 1);
    let large = format!("{good}{}", " ".repeat(17 * 1024));
    let (bad, malformed) = (400, "malformed_json");
    vec![
        order(large).named("a body over 16 KiB", 413, "payload_too_large"),
        order(good.clone()).typed("text/plain").named(
            "a body of type text/plain",
            415,
            "unsupported_media_type",
        ),
        order(good.clone())
            .typed("application/x-www-form-urlencoded")
            .named("a form", 415, "unsupported_media_type"),
        order("").named("no body", bad, malformed),
        order("{").named("half a body", bad, malformed),
        order("nonsense").named("a body that is not JSON", bad, malformed),
        order(b"{\"product_id\":\"\xff\"}".to_vec()).named(
            "a body that is not UTF-8",
            bad,
            malformed,
        ),
        order(format!("{good}{good}")).named("two bodies", bad, malformed),
        order(good.replace('}', ",}")).named("a trailing comma", bad, malformed),
    ]
}

/// JSON that is not a valid order.
fn invalid(products: &Products) -> Vec<Case> {
    let plain = &products.plain;
    let quantity = |text: &str| order(format!(r#"{{"product_id":"{plain}","quantity":{text}}}"#));
    let field = |value: serde_json::Value| order(value.to_string());
    let key = |key: String| order(purchase(plain, 1)).with("idempotency-key", key);
    let cases = [
        ("quantity 0", quantity("0")),
        ("a negative quantity", quantity("-1")),
        ("a fractional quantity", quantity("1.5")),
        ("a quantity as a string", quantity("\"one\"")),
        ("a null quantity", quantity("null")),
        ("a quantity over i32", quantity("2147483648")),
        ("a quantity over i64", quantity("9223372036854775808")),
        ("a quantity in exponent notation", quantity("1e308")),
        ("more than max_per_order", quantity("1000")),
        ("no quantity", field(json!({ "product_id": plain }))),
        ("no product", field(json!({ "quantity": 1 }))),
        (
            "a product that is not an id",
            field(json!({ "product_id": "seat 1", "quantity": 1 })),
        ),
        (
            "a product that is a number",
            field(json!({ "product_id": 1, "quantity": 1 })),
        ),
        (
            "SQL as a product",
            field(json!({ "product_id": "'; DROP TABLE orders; --", "quantity": 1 })),
        ),
        (
            "an order with a price",
            field(json!({ "product_id": plain, "quantity": 1, "price": 0 })),
        ),
        (
            "an order with another user's id",
            field(json!({ "product_id": plain, "quantity": 1, "user_id": "eve" })),
        ),
        (
            "a waitlist that is not a boolean",
            field(json!({ "product_id": plain, "quantity": 1, "waitlist": "yes" })),
        ),
        (
            "a list of orders",
            field(json!([{ "product_id": plain, "quantity": 1 }])),
        ),
        ("a bare number", order("7")),
        ("an empty key", key(String::new())),
        ("a key of 256 characters", key("k".repeat(256))),
        ("a key with a space", key("two words".to_owned())),
        (
            "two keys",
            key("one".to_owned()).with("idempotency-key", "two"),
        ),
    ];
    let named = |(name, case): (&'static str, Case)| case.named(name, 422, "invalid_request");
    cases.into_iter().map(named).collect()
}

fn unauthenticated(products: &Products) -> Vec<Case> {
    let good = || order(purchase(&products.plain, 1));
    let cases = [
        ("no token", good().by(Caller::NoToken)),
        ("an empty token", good().by(Caller::Header("Bearer "))),
        (
            "a token that is not a JWT",
            good().by(Caller::Header("Bearer let me in")),
        ),
        (
            "another scheme",
            good().by(Caller::Header("Basic ZXZlOmV2ZQ==")),
        ),
        (
            "a token with a wrong signature",
            good().by(Caller::Header(FORGED)),
        ),
        ("an unsigned token", good().by(Caller::Header(UNSIGNED))),
        (
            "a list of orders without a token",
            get("/orders", Caller::NoToken),
        ),
        (
            "an order without a token",
            get(format!("/orders/{NO_ID}"), Caller::NoToken),
        ),
        (
            "a product without a token",
            admin("POST", "/products", "{}").by(Caller::NoToken),
        ),
    ];
    let named = |(name, case): (&'static str, Case)| case.named(name, 401, "unauthenticated");
    cases.into_iter().map(named).collect()
}

/// Valid orders that the service refuses.
fn refused(products: &Products) -> Vec<Case> {
    let one = |product: &str| order(purchase(product, 1));
    let reused =
        order(purchase(&products.keyed, 2)).with("idempotency-key", products.used_key.clone());
    vec![
        one(NO_ID).named("an order of an unknown product", 404, "product_not_found"),
        one(&products.not_yet).named("an order before the sale", 409, "not_on_sale"),
        one(&products.no_more).named("an order after the sale", 409, "not_on_sale"),
        reused.named(
            "a key reused for another order",
            422,
            "idempotency_key_reused",
        ),
        one(&products.limited).named("more than max_per_user", 409, "purchase_limit"),
        one(&products.empty).named("a sold-out product", 409, "sold_out"),
        order(purchase(&products.one_left, 2)).named(
            "two units of which one is left",
            409,
            "insufficient_stock",
        ),
    ]
}

/// Requests without a body.
fn reads() -> Vec<Case> {
    vec![
        get(format!("/orders/{NO_ID}"), Caller::Buyer).named(
            "an unknown order",
            404,
            "order_not_found",
        ),
        get("/orders/first", Caller::Buyer).named(
            "an order id that is not an id",
            404,
            "order_not_found",
        ),
        get("/orders?limit=0", Caller::Buyer).named(
            "a page of zero orders",
            422,
            "invalid_request",
        ),
        get("/orders?status=lost", Caller::Buyer).named(
            "an unknown status",
            422,
            "invalid_request",
        ),
        get(format!("/products/{NO_ID}"), Caller::NoToken).named(
            "an unknown product",
            404,
            "product_not_found",
        ),
        get("/products?limit=101", Caller::NoToken).named(
            "a page that is too large",
            422,
            "invalid_request",
        ),
        get("/nowhere", Caller::NoToken).named("an unknown path", 404, "not_found"),
    ]
}

/// Calls of the admin.
fn administration(products: &Products) -> Vec<Case> {
    let plain = &products.plain;
    let taken =
        json!({ "sku": products.sku, "name": "n", "price": 1, "currency": "EUR", "stock": 1 });
    let restock = |body: &str| admin("POST", format!("/products/{plain}/restock"), body);
    vec![
        admin("PUT", "/orders", "{}").named("an unsupported method", 405, "method_not_allowed"),
        admin("POST", "/products", taken.to_string())
            .by(Caller::Buyer)
            .named("a product created by a buyer", 403, "forbidden"),
        admin("POST", "/products", taken.to_string()).named(
            "a sku that is taken",
            409,
            "sku_taken",
        ),
        admin("POST", "/products", "{}").named("a product without fields", 422, "invalid_request"),
        admin(
            "PATCH",
            format!("/products/{plain}"),
            r#"{"stock":1000000}"#,
        )
        .named("a patch of the stock", 422, "invalid_request"),
        admin("PATCH", format!("/products/{NO_ID}"), "{}").named(
            "a patch of an unknown product",
            404,
            "product_not_found",
        ),
        restock(r#"{"quantity":0}"#).named("a restock of zero units", 422, "invalid_request"),
        restock(r#"{"quantity":-1000000000}"#).named(
            "a withdrawal of more units than there are",
            409,
            "insufficient_stock",
        ),
        restock(r#"{"quantity":2000000000}"#).named(
            "a restock over the bound",
            422,
            "invalid_request",
        ),
        restock(r#"{"quantity":1}"#).by(Caller::Buyer).named(
            "a restock by a buyer",
            403,
            "forbidden",
        ),
    ]
}
