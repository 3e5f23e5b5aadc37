//! The parsers of requests, for the fuzz targets in `fuzz/`: the functions that the handlers call.

use std::net::IpAddr;

use axum::{
    extract::FromRequestParts,
    http::{Extensions, HeaderMap, HeaderValue, Request, header},
    response::IntoResponse,
};
use futures::FutureExt;
use uuid::Uuid;

use super::{
    audit::AuditParams,
    auth::{self, Keys},
    clients::Clients,
    extract::{self, Params},
    orders::{self, OrderBody, OrderListParams, confirm::Confirmation},
    problem::Problem,
    products::{
        ProductListParams,
        body::{NewProductBody, ProductPatchBody, RestockBody},
    },
    serve::Peer,
};
use crate::domain::OrderStatus;

/// A request with a JSON body.
#[derive(Clone, Copy, Debug)]
pub enum Body {
    Order,
    Confirmation,
    NewProduct,
    ProductPatch,
    Restock,
}

pub const BODIES: [Body; 5] = [
    Body::Order,
    Body::Confirmation,
    Body::NewProduct,
    Body::ProductPatch,
    Body::Restock,
];

/// The status with which a body is refused; `None` if it is accepted.
pub fn body(kind: Body, bytes: &[u8]) -> Option<u16> {
    match kind {
        Body::Order => refused(extract::checked::<OrderBody>(bytes)),
        Body::Confirmation => refused(extract::checked::<Confirmation>(bytes)),
        Body::NewProduct => refused(extract::checked::<NewProductBody>(bytes)),
        Body::ProductPatch => refused(extract::checked::<ProductPatchBody>(bytes)),
        Body::Restock => refused(extract::checked::<RestockBody>(bytes)),
    }
}

/// The status with which a query string, or a parameter of it, is refused.
pub fn query(bytes: &[u8]) -> Option<u16> {
    let text = std::str::from_utf8(bytes).ok()?;
    let request = Request::builder().uri(format!("/orders?{text}"));
    let (mut parts, ()) = request.body(()).ok()?.into_parts();
    let orders = Params::<OrderListParams>::from_request_parts(&mut parts, &()).now_or_never()?;
    let products =
        Params::<ProductListParams>::from_request_parts(&mut parts, &()).now_or_never()?;
    let audit = Params::<AuditParams>::from_request_parts(&mut parts, &()).now_or_never()?;
    let value = Some(text);
    refused(orders)
        .or(refused(audit))
        .or(refused(products))
        .or(refused(extract::limit(value)))
        .or(refused(extract::cursor(value)))
        .or(refused(extract::parameter::<Uuid>("id", value, "a UUID")))
        .or(refused(extract::parameter::<OrderStatus>(
            "status", value, "a status",
        )))
}

/// The key in a header of these bytes, if they can be in one.
pub fn idempotency_key(bytes: &[u8]) -> Option<String> {
    let mut headers = HeaderMap::new();
    headers.insert("idempotency-key", HeaderValue::from_bytes(bytes).ok()?);
    orders::idempotency_key(&headers).ok().flatten()
}

/// The address that a request of `peer` with these `X-Forwarded-For` values counts for.
pub fn client(clients: &Clients, peer: IpAddr, forwarded: &[&[u8]]) -> Option<IpAddr> {
    let mut headers = HeaderMap::new();
    for value in forwarded {
        headers.append("x-forwarded-for", HeaderValue::from_bytes(value).ok()?);
    }
    let mut extensions = Extensions::new();
    extensions.insert(Peer(peer));
    clients.address(&extensions, &headers)
}

/// Whether a bearer token of these bytes names a user.
pub fn is_accepted(keys: &Keys, bytes: &[u8]) -> bool {
    let value = [b"Bearer ".as_slice(), bytes].concat();
    let Ok(value) = HeaderValue::from_bytes(&value) else {
        return false;
    };
    let mut headers = HeaderMap::new();
    headers.insert(header::AUTHORIZATION, value);
    let user = keys.user(&headers).now_or_never();
    user.is_some_and(|user| user.is_ok())
}

/// Whether a key in the answer of an identity provider would verify a token that its public part
/// signs: HMAC with a public key as the secret. `None` if the answer has no key that is used.
pub fn key_set_has_secrets(bytes: &[u8]) -> Option<bool> {
    auth::key_set_has_secrets(bytes)
}

fn refused<T>(result: Result<T, Problem>) -> Option<u16> {
    Some(result.err()?.into_response().status().as_u16())
}
