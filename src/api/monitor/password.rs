//! `OPS_PASSWORD`: HTTP basic authentication (RFC 7617) of the operators' pages. Any user name is
//! accepted: the password is one for all operators.

use std::sync::Arc;

use axum::{
    extract::{Request, State},
    http::{HeaderMap, HeaderValue, header},
    middleware::Next,
    response::{IntoResponse, Response},
};
use base64::{Engine, prelude::BASE64_STANDARD};
use hmac::{Hmac, KeyInit, Mac};
use rand::random;
use sha2::Sha256;

use crate::{api::problem::Problem, domain::Secret};

const CHALLENGE: HeaderValue =
    HeaderValue::from_static("Basic realm=\"flash-sale operators\", charset=\"UTF-8\"");

/// The password, as its code under a random key: comparing codes takes the same time whatever was
/// sent.
#[derive(Clone)]
pub(super) struct Password(Arc<Hmac<Sha256>>, Arc<[u8]>);

impl Password {
    pub(super) fn new(password: &Secret) -> Self {
        let key = random::<[u8; 64]>();
        let keyed = Hmac::<Sha256>::new(&key.into());
        let code = keyed.clone().chain_update(password.expose().trim());
        let code = code.finalize().into_bytes();
        Self(Arc::new(keyed), Arc::from(code.as_slice()))
    }

    fn is_sent(&self, headers: &HeaderMap) -> bool {
        let Some(sent) = sent(headers) else {
            return false;
        };
        let keyed = Hmac::clone(&self.0).chain_update(&sent);
        keyed.verify_slice(&self.1).is_ok()
    }
}

/// The password of `Authorization: Basic`.
fn sent(headers: &HeaderMap) -> Option<Vec<u8>> {
    let value = headers.get(header::AUTHORIZATION)?.to_str().ok()?;
    let (scheme, credentials) = value.split_once(' ')?;
    if !scheme.eq_ignore_ascii_case("basic") {
        return None;
    }
    let credentials = BASE64_STANDARD.decode(credentials.trim()).ok()?;
    let colon = credentials.iter().position(|byte| *byte == b':')?;
    Some(credentials.get(colon + 1..)?.to_vec())
}

pub(super) async fn check(
    State(password): State<Password>,
    request: Request,
    next: Next,
) -> Response {
    if password.is_sent(request.headers()) {
        return next.run(request).await;
    }
    let problem = Problem::Unauthenticated {
        detail: "Give the password of the operators, OPS_PASSWORD.",
    };
    let mut response = problem.into_response();
    let headers = response.headers_mut();
    headers.insert(header::WWW_AUTHENTICATE, CHALLENGE);
    response
}
