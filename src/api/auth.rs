//! Authentication by JSON Web Tokens (RFC 7519): HS256 with a shared secret, or RS256, ES256,
//! EdDSA with a public key.

use std::{collections::HashSet, sync::Arc, time::Duration};

use axum::http::{HeaderMap, header};
use chrono::{DateTime, Utc};
use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header, Validation};
use moka::sync::Cache;
use serde::{Deserialize, Serialize};

use super::problem::Problem;
use crate::domain::{Secret, UserId, now};

pub mod tickets;

/// The longest `sub`, in bytes.
const USER_ID_MAX: usize = 255;

/// The caller of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct User {
    pub id: UserId,
    pub role: Role,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    Buyer,
    Admin,
}

#[derive(Debug, Serialize, Deserialize)]
struct Claims {
    sub: String,
    exp: i64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    role: Option<String>,
}

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error(
        "AUTH_PUBLIC_KEY: neither a PEM public key (RSA, P-256 or Ed25519) nor the path of one"
    )]
    PublicKey,
    #[error("AUTH_SECRET: signing a token needs a secret, and only a public key is set")]
    NoSecret,
    #[error("cannot sign the token")]
    Sign(#[source] jsonwebtoken::errors::Error),
}

/// A key and the one algorithm that it is used with.
struct Verifier {
    key: DecodingKey,
    validation: Validation,
}

/// A caller, and the time until which the token is valid.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Session {
    pub user: User,
    pub expires_at: DateTime<Utc>,
}

/// Token verifiers and a cache of valid tokens.
pub struct Keys {
    verifiers: Vec<Verifier>,
    /// Valid tokens by their whole text: a buyer in a drop sends the same one many times, and
    /// checking a signature costs more than the rest of a refusal. Invalid tokens are not cached.
    verified: Cache<String, Session, ahash::RandomState>,
}

/// Cached tokens; the least used ones are evicted first.
const VERIFIED_MAX: u64 = 20_000;

impl std::fmt::Debug for Keys {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Keys").finish_non_exhaustive()
    }
}

impl Keys {
    /// `public` is PEM text, or the path of a file with it.
    pub fn new(secret: Option<&Secret>, public: Option<&str>) -> Result<Self, Error> {
        let mut verifiers = Vec::new();
        if let Some(secret) = secret {
            let key = DecodingKey::from_secret(secret.expose().as_bytes());
            verifiers.push(Verifier::new(key, Algorithm::HS256));
        }
        if let Some(public) = public {
            verifiers.push(public_key(public)?);
        }
        Ok(Self {
            verifiers,
            verified: Cache::builder()
                .max_capacity(VERIFIED_MAX)
                .build_with_hasher(ahash::RandomState::default()),
        })
    }

    /// The caller that the request's bearer token names.
    pub fn user(&self, headers: &HeaderMap) -> Result<User, Problem> {
        Ok(self.session(headers)?.user)
    }

    /// The caller, and how long the bearer token is valid.
    pub fn session(&self, headers: &HeaderMap) -> Result<Session, Problem> {
        let token = bearer(headers)?;
        if let Some(session) = self.verified.get(token)
            && now().timestamp() <= session.expires_at.timestamp()
        {
            return Ok(session);
        }
        let session = self.claims(token)?.into_session()?;
        self.verified.insert(token.to_owned(), session.clone());
        Ok(session)
    }

    fn claims(&self, token: &str) -> Result<Claims, Problem> {
        let unreadable = |_| refuse("The token cannot be read.");
        let algorithm = jsonwebtoken::decode_header(token).map_err(unreadable)?.alg;
        let verifier = self
            .verifiers
            .iter()
            .find(|verifier| verifier.validation.algorithms.contains(&algorithm))
            .ok_or_else(|| refuse("The token's algorithm is not accepted."))?;
        jsonwebtoken::decode(token, &verifier.key, &verifier.validation)
            .map(|token| token.claims)
            .map_err(|_| refuse("The token is not valid, or expired."))
    }
}

impl Verifier {
    fn new(key: DecodingKey, algorithm: Algorithm) -> Self {
        let mut validation = Validation::new(algorithm);
        validation.leeway = 0;
        validation.validate_aud = false;
        validation.validate_nbf = true;
        validation.required_spec_claims =
            HashSet::from(["exp", "sub"].map(std::borrow::ToOwned::to_owned));
        Self { key, validation }
    }
}

/// Whether this can be the `sub` of a token.
pub(super) fn is_user_id(text: &str) -> bool {
    (1..=USER_ID_MAX).contains(&text.len()) && !text.chars().any(char::is_control)
}

impl Claims {
    fn into_session(self) -> Result<Session, Problem> {
        if !is_user_id(&self.sub) {
            return Err(refuse("The token's sub is empty or unusable."));
        }
        let user = User {
            id: Arc::from(self.sub),
            role: match self.role.as_deref() {
                Some("admin") => Role::Admin,
                Some(_) | None => Role::Buyer,
            },
        };
        let expires_at = time(self.exp);
        Ok(Session { user, expires_at })
    }
}

/// A time in seconds of Unix time; one beyond the calendar is its last.
fn time(seconds: i64) -> DateTime<Utc> {
    DateTime::from_timestamp(seconds, 0).unwrap_or(DateTime::<Utc>::MAX_UTC)
}

/// Signs an HS256 token for `user` that expires after `ttl`.
pub fn sign(secret: &Secret, user: &str, role: Role, ttl: Duration) -> Result<String, Error> {
    let seconds = i64::try_from(ttl.as_secs()).unwrap_or(i64::MAX);
    let claims = Claims {
        sub: user.to_owned(),
        exp: now().timestamp().saturating_add(seconds),
        role: (role == Role::Admin).then(|| "admin".to_owned()),
    };
    let key = EncodingKey::from_secret(secret.expose().as_bytes());
    jsonwebtoken::encode(&Header::new(Algorithm::HS256), &claims, &key).map_err(Error::Sign)
}

fn public_key(text: &str) -> Result<Verifier, Error> {
    let pem = if text.trim_start().starts_with("-----BEGIN") {
        // Environment files often hold a line break as the two characters `\n`.
        text.replace("\\n", "\n")
    } else {
        std::fs::read_to_string(text).map_err(|_| Error::PublicKey)?
    };
    let pem = pem.as_bytes();
    let rsa = DecodingKey::from_rsa_pem(pem).map(|key| (key, Algorithm::RS256));
    let ec = || DecodingKey::from_ec_pem(pem).map(|key| (key, Algorithm::ES256));
    let ed = || DecodingKey::from_ed_pem(pem).map(|key| (key, Algorithm::EdDSA));
    rsa.or_else(|_| ec())
        .or_else(|_| ed())
        .map(|(key, algorithm)| Verifier::new(key, algorithm))
        .map_err(|_| Error::PublicKey)
}

fn bearer(headers: &HeaderMap) -> Result<&str, Problem> {
    let missing = "Send a token as Authorization: Bearer.";
    let value = headers
        .get(header::AUTHORIZATION)
        .and_then(|value| value.to_str().ok())
        .ok_or_else(|| refuse(missing))?;
    match value.split_once(' ') {
        Some((scheme, token)) if scheme.eq_ignore_ascii_case("bearer") => Ok(token.trim()),
        Some(_) | None => Err(refuse(missing)),
    }
}

fn refuse(detail: &'static str) -> Problem {
    Problem::Unauthenticated { detail }
}
