//! Sends the catalogue of bad requests: every refusal that `docs/API.md` names, one after
//! another, each with its expected status and code.

use std::sync::Arc;

use axum::http::{HeaderName, HeaderValue, Request, header};
use bytes::Bytes;
use http_body_util::Full;
use serde_json::{Value, json};

use self::cases::{Caller, Case};
use super::requests::Round;
use crate::{
    client::Body,
    record::{self, Answer, BadRequestResult, Planned, RequestKind, Sample},
    report::codes::AnswerCode,
    shop::Api,
};

mod cases;

/// Sends all cases; a failed set-up is one of the results.
pub(crate) async fn send_all(round: &Arc<Round>) {
    let Some(address) = round.pool.address(0) else {
        return;
    };
    let mut api = Api::new(address.clone());
    let cases = match set_up(round, &mut api).await {
        Ok(products) => cases::all(&products),
        Err(error) => {
            let result = BadRequestResult {
                case: "creating the products of the catalogue",
                expected: (201, ""),
                got: (0, format!("{error:#}")),
                flaw: None,
            };
            round.load.add_bad_result(result);
            return;
        }
    };
    for (number, case) in (0..).zip(cases) {
        let result = send(round, &mut api, case, number).await;
        round.load.add_bad_result(result);
    }
}

/// The products that the cases use.
#[derive(Debug)]
pub(crate) struct Products {
    /// With enough stock, at most 10 per order.
    pub(crate) plain: String,
    pub(crate) sku: String,
    pub(crate) not_yet: String,
    pub(crate) no_more: String,
    pub(crate) empty: String,
    pub(crate) one_left: String,
    /// Limited to one per user, which the buyer has.
    pub(crate) limited: String,
    /// Bought by the buyer under `used_key`; not `plain`, whose rows the checks read.
    pub(crate) keyed: String,
    pub(crate) used_key: String,
}

async fn set_up(round: &Round, api: &mut Api) -> anyhow::Result<Products> {
    let load = &round.load;
    let first = load.offers.first();
    let first = first.map(|offer| (offer.id.to_string(), offer.sku.clone()));
    let (plain, sku) = first.unwrap_or_default();
    let mut created = Vec::new();
    for (name, stock, more) in [
        ("not-yet", 5, json!({ "starts_at": "2999-01-01T00:00:00Z" })),
        ("no-more", 5, json!({ "ends_at": "2001-01-01T00:00:00Z" })),
        ("empty", 0, json!({})),
        ("one-left", 1, json!({})),
        ("limited", 5, json!({ "max_per_user": 1 })),
        ("keyed", 5, json!({})),
    ] {
        let mut body = json!({
            "sku": format!("{}-{name}", load.run), "name": name,
            "price": 100, "currency": "EUR", "stock": stock,
        });
        if let (Some(body), Value::Object(more)) = (body.as_object_mut(), more) {
            body.extend(more);
        }
        let admin = Some(&load.users.admin.token);
        let response = api.call(("POST", "/products"), admin, Some(&body)).await?;
        anyhow::ensure!(
            response.status == 201,
            "POST /products: {}",
            response.status
        );
        let product: Value = serde_json::from_slice(&response.body)?;
        let id = product
            .get("id")
            .and_then(Value::as_str)
            .unwrap_or_default();
        created.push(id.to_owned());
    }
    let [not_yet, no_more, empty, one_left, limited, keyed] =
        <[String; 6]>::try_from(created).map_err(|_| anyhow::anyhow!("a product is missing"))?;
    let used_key = format!("{}-used", load.run);
    for (product, key) in [(&limited, None), (&keyed, Some(&used_key))] {
        let body = json!({ "product_id": product, "quantity": 1 }).to_string();
        let mut order = cases::order(body);
        if let Some(key) = key {
            order.headers.push(("idempotency-key", key.clone()));
        }
        let response = api.send(request(round, &order)).await?;
        anyhow::ensure!(response.status == 201, "POST /orders: {}", response.status);
    }
    Ok(Products {
        plain,
        sku,
        not_yet,
        no_more,
        empty,
        one_left,
        limited,
        keyed,
        used_key,
    })
}

async fn send(round: &Round, api: &mut Api, case: Case, number: u32) -> BadRequestResult {
    let recorder = &round.load.recorder;
    let sent = recorder.now();
    let response = api.send(request(round, &case)).await;
    let answered = recorder.now();
    let (status, code, flaw) = match &response {
        Ok(response) => (
            response.status,
            record::code(&response.body),
            flaw(response, case.expected.0),
        ),
        Err(_) => (0, AnswerCode::NoAnswer, None),
    };
    recorder.push(Sample {
        planned: Planned {
            user: 0,
            product: 0,
            kind: RequestKind::Bad,
            number,
        },
        attempt: 0,
        node: 0,
        intended: sent,
        sent,
        answered,
        answer: Answer {
            status,
            code,
            ..Answer::default()
        },
    });
    BadRequestResult {
        case: case.name,
        expected: case.expected,
        got: (status, code.name().to_owned()),
        flaw,
    }
}

/// What the contract requires of every refusal besides status and code.
fn flaw(response: &crate::client::Response, expected: u16) -> Option<&'static str> {
    let is_problem = response.header("content-type") == Some("application/problem+json");
    if !is_problem {
        return Some("is not application/problem+json");
    }
    if response.header("x-request-id").is_none() {
        return Some("has no X-Request-Id");
    }
    let challenged = response.header("www-authenticate").is_some();
    (expected == 401 && !challenged).then_some("has no WWW-Authenticate")
}

fn request(round: &Round, case: &Case) -> Request<Body> {
    let load = &round.load;
    let mut request = Request::new(Full::new(Bytes::from(case.body.clone())));
    *request.method_mut() = case.method.parse().unwrap_or_default();
    *request.uri_mut() = case.path.parse().unwrap_or_default();
    let headers = request.headers_mut();
    if let Some(address) = round.pool.address(0) {
        headers.insert(header::HOST, address.host.clone());
    }
    let token = match &case.caller {
        Caller::NoToken => None,
        Caller::Buyer => Some(load.users.buyer(0).token.clone()),
        Caller::Admin => Some(load.users.admin.token.clone()),
        Caller::Header(text) => HeaderValue::from_str(text).ok(),
    };
    if let Some(token) = token {
        headers.insert(header::AUTHORIZATION, token);
    }
    for (name, value) in &case.headers {
        if let Ok(value) = HeaderValue::from_str(value) {
            headers.append(HeaderName::from_static(name), value);
        }
    }
    request
}
