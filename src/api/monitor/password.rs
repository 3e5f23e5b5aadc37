//! `OPS_PASSWORD`: HTTP basic authentication (RFC 7617) of the operators' pages. Any user name is
//! accepted: the password is one for all operators.
//!
//! An address that has tried too many wrong passwords is refused, with the right one too: else it
//! could go on to guess.

use std::{num::NonZeroU32, sync::Arc, time::Instant};

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

use crate::{
    admission::AddressLimiter,
    api::{SharedState, clients, problem::Problem},
    domain::Secret,
};

/// Wrong passwords of one address in a minute: people mistype a few times, and a dictionary takes
/// days.
const WRONG_A_MINUTE: NonZeroU32 = NonZeroU32::new(30).unwrap();

const CHALLENGE: HeaderValue =
    HeaderValue::from_static("Basic realm=\"flash-sale operators\", charset=\"UTF-8\"");

/// The password, as its code under a random key: comparing codes takes the same time whatever was
/// sent.
struct Password(Hmac<Sha256>, Box<[u8]>);

impl std::fmt::Debug for Password {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Password").finish_non_exhaustive()
    }
}

impl Password {
    fn new(password: &Secret) -> Self {
        let key = random::<[u8; 64]>();
        let keyed = Hmac::<Sha256>::new(&key.into());
        let code = keyed.clone().chain_update(password.expose().trim());
        let code = code.finalize().into_bytes();
        Self(keyed, Box::from(code.as_slice()))
    }

    fn is_sent(&self, headers: &HeaderMap) -> bool {
        let Some(sent) = sent(headers) else {
            return false;
        };
        let keyed = Hmac::clone(&self.0).chain_update(&sent);
        keyed.verify_slice(&self.1).is_ok()
    }
}

/// The password, and the addresses that tried others.
#[derive(Debug)]
pub(super) struct Door {
    password: Password,
    wrong: AddressLimiter,
    state: SharedState,
}

impl Door {
    pub(super) fn new(password: &Secret, state: SharedState) -> Self {
        Self {
            password: Password::new(password),
            wrong: AddressLimiter::new(WRONG_A_MINUTE, Instant::now()),
            state,
        }
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

pub(super) async fn check(State(door): State<Arc<Door>>, request: Request, next: Next) -> Response {
    let (headers, now) = (request.headers(), Instant::now());
    let address = door.state.clients.address(request.extensions(), headers);
    let exhausted = address.and_then(|address| door.wrong.refusal(address, now));
    if let Some(refusal) = exhausted {
        return clients::refused(refusal);
    }
    if door.password.is_sent(headers) {
        return next.run(request).await;
    }
    if let Some(address) = address
        && headers.contains_key(header::AUTHORIZATION)
    {
        // Of a full bucket the next request is refused.
        let _ = door.wrong.admit(address, now);
    }
    let problem = Problem::Unauthenticated {
        detail: "Give the password of the operators, OPS_PASSWORD.",
    };
    let mut response = problem.into_response();
    let headers = response.headers_mut();
    headers.insert(header::WWW_AUTHENTICATE, CHALLENGE);
    response
}
