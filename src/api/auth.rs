//! Authentication by JSON Web Tokens (RFC 7519): HS256 with shared secrets, or signatures of public
//! keys, which are configured or those of an identity provider.

use std::{sync::Arc, time::Duration};

use axum::http::{HeaderMap, header};
use chrono::{DateTime, Utc};
use jsonwebtoken::Algorithm;
use moka::sync::Cache;

use self::{
    claims::Claims,
    provider::{Condition, Provider, is_signature},
    verifier::{Checks, Verifier},
};
use super::problem::Problem;
use crate::{
    config,
    domain::{Secret, UserId, now},
};

mod claims;
mod jwks;
pub mod provider;
pub mod sign;
pub mod tickets;
mod verifier;

pub(super) use self::claims::is_user_id;

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

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error(
        "AUTH_PUBLIC_KEY: neither PEM public keys (RSA, P-256 or Ed25519) nor the path of a file \
         with some"
    )]
    PublicKey,
    #[error("AUTH_JWKS_URL: is not a URL")]
    JwksUrl,
    #[error("AUTH_JWKS_URL: cannot set up an HTTP client")]
    Client(#[source] reqwest::Error),
    #[error("AUTH_SECRET: signing a token needs a secret, and only public keys are set")]
    NoSecret,
    #[error("cannot sign the token")]
    Sign(#[source] jsonwebtoken::errors::Error),
}

/// A caller, and the time until which the token is valid.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Session {
    pub user: User,
    pub expires_at: DateTime<Utc>,
}

/// A session, and what its token was verified with.
#[derive(Clone, Debug)]
struct Verified {
    session: Session,
    /// The number of the identity provider's keys, if one of them did.
    by_set: Option<u64>,
}

/// Why a token names nobody.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Refused {
    Invalid(&'static str),
    /// The identity provider may have a key that is not known here yet.
    UnknownKey,
}

impl Refused {
    const INVALID: Self = Self::Invalid("The token is not valid, or expired.");
}

/// Token verifiers and a cache of valid tokens.
pub struct Keys {
    verifiers: Vec<Verifier>,
    provider: Option<Arc<Provider>>,
    /// How long a request with an unknown key waits for the provider.
    unknown_key_within: Duration,
    /// Valid tokens by their whole text: a buyer in a drop sends the same one many times, and
    /// checking a signature costs more than the rest of a refusal. Invalid tokens are not cached.
    verified: Cache<String, Verified, ahash::RandomState>,
}

/// The size of all cached tokens, in bytes; the least used ones are evicted first. Providers that put a
/// user's groups into tokens make them of 10 KiB and more, so that a number would be no bound.
const VERIFIED_BYTES_MAX: u64 = 32 * 1024 * 1024;
/// What an entry of the cache takes besides the token, about.
const ENTRY_BYTES: usize = 300;
/// The share of the request time-out for which a request may wait for the provider's keys; the body
/// and the lane need the rest.
const UNKNOWN_KEY_WITHIN: f64 = 0.2;

impl std::fmt::Debug for Keys {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Keys").finish_non_exhaustive()
    }
}

impl Keys {
    /// The keys that are configured. Each secret verifies; a token of any of them is accepted.
    ///
    /// # Errors
    /// When `AUTH_PUBLIC_KEY` names no key.
    pub fn new(secrets: &[Secret], auth: &config::Auth) -> Result<Self, Error> {
        let checks = Checks::from(auth);
        let of_secret = |secret: &Secret| verifier::secret(secret.expose(), &checks);
        let mut verifiers: Vec<_> = secrets.iter().map(of_secret).collect();
        if let Some(public) = &auth.auth_public_key {
            verifiers.extend(verifier::public_keys(public, &checks)?);
        }
        Ok(Self {
            verifiers,
            provider: None,
            unknown_key_within: Duration::ZERO,
            verified: cache(),
        })
    }

    /// Accepts the tokens of an identity provider too.
    #[must_use]
    pub fn with_provider(self, provider: Option<Arc<Provider>>, request_timeout: Duration) -> Self {
        Self {
            provider,
            unknown_key_within: request_timeout.mul_f64(UNKNOWN_KEY_WITHIN),
            ..self
        }
    }

    /// Whether the identity provider's keys are known; `None` without a provider.
    pub(super) fn provider(&self) -> Option<Condition> {
        Some(self.provider.as_ref()?.condition())
    }

    /// The caller that the request's bearer token names.
    pub async fn user(&self, headers: &HeaderMap) -> Result<User, Problem> {
        Ok(self.session(headers).await?.user)
    }

    /// The caller, and how long the bearer token is valid.
    pub async fn session(&self, headers: &HeaderMap) -> Result<Session, Problem> {
        let token = bearer(headers)?;
        match self.known_session(token) {
            Ok(session) => Ok(session),
            Err(Refused::Invalid(detail)) => Err(refuse(detail)),
            Err(Refused::UnknownKey) => self.session_after_refresh(token).await,
        }
    }

    /// The caller, if the token can be verified without waiting for the identity provider.
    pub fn known_user(&self, headers: &HeaderMap) -> Option<User> {
        match self.known_session(bearer(headers).ok()?) {
            Ok(session) => Some(session.user),
            Err(Refused::Invalid(_)) => None,
            Err(Refused::UnknownKey) => {
                // For the next request.
                self.provider.as_ref()?.ask();
                None
            }
        }
    }

    async fn session_after_refresh(&self, token: &str) -> Result<Session, Problem> {
        if let Some(provider) = &self.provider {
            provider.refreshed(self.unknown_key_within).await;
        }
        self.known_session(token).map_err(|refused| match refused {
            Refused::Invalid(detail) => refuse(detail),
            Refused::UnknownKey if self.provider() == Some(Condition::Missing) => {
                Problem::KeysUnavailable
            }
            Refused::UnknownKey => refuse("The key that signed the token is not known."),
        })
    }

    /// Reads the cache, or verifies with the keys that are known now.
    fn known_session(&self, token: &str) -> Result<Session, Refused> {
        if let Some(Verified { session, by_set }) = self.verified.get(token)
            && now() < session.expires_at
            && by_set.is_none_or(|set| self.is_current(set))
        {
            return Ok(session);
        }
        let verified = self.verify(token)?;
        let session = verified.session.clone();
        self.verified.insert(token.to_owned(), verified);
        Ok(session)
    }

    fn is_current(&self, set: u64) -> bool {
        (self.provider.as_ref()).is_some_and(|provider| provider.number() == set)
    }

    fn verify(&self, token: &str) -> Result<Verified, Refused> {
        let unreadable = |_| Refused::Invalid("The token cannot be read.");
        let header = jsonwebtoken::decode_header(token).map_err(unreadable)?;
        if header.crit.is_some() {
            // RFC 7515, section 4.1.11: who does not understand all of it has to refuse.
            return Err(Refused::Invalid("The token needs an extension (crit)."));
        }
        let mut refused = Refused::Invalid("The token's algorithm is not accepted.");
        let fitting = |verifier: &&Verifier| verifier.accepts(header.alg);
        for verifier in self.verifiers.iter().filter(fitting) {
            match verifier.claims(token) {
                Ok(claims) => return session_of(claims, None),
                // Another key of the kind may have signed it.
                Err(error) if is_signature(error.kind()) => refused = Refused::INVALID,
                Err(_) => return Err(Refused::INVALID),
            }
        }
        match &self.provider {
            Some(provider) if !is_hmac(header.alg) => {
                let (claims, set) = provider.claims(token, &header)?;
                session_of(claims, Some(set))
            }
            Some(_) | None => Err(refused),
        }
    }
}

fn cache() -> Cache<String, Verified, ahash::RandomState> {
    let size = |token: &String| u32::try_from(token.len() + ENTRY_BYTES).unwrap_or(u32::MAX);
    Cache::builder()
        .weigher(move |token, _| size(token))
        .max_capacity(VERIFIED_BYTES_MAX)
        .build_with_hasher(ahash::RandomState::default())
}

/// Of an accepted token. At `exp` it has expired (RFC 7519, section 4.1.4): the signature's check
/// would accept it for that whole second, and for the leeway of `nbf`.
fn session_of(claims: Claims, by_set: Option<u64>) -> Result<Verified, Refused> {
    let session = claims.into_session();
    let session = session.map_err(|_| Refused::Invalid("The token's sub is empty or unusable."))?;
    if session.expires_at <= now() {
        return Err(Refused::INVALID);
    }
    Ok(Verified { session, by_set })
}

fn is_hmac(algorithm: Algorithm) -> bool {
    matches!(
        algorithm,
        Algorithm::HS256 | Algorithm::HS384 | Algorithm::HS512
    )
}

fn bearer(headers: &HeaderMap) -> Result<&str, Problem> {
    let missing = "Send a token as Authorization: Bearer.";
    let mut values = headers.get_all(header::AUTHORIZATION).iter();
    let value = values.next().and_then(|value| value.to_str().ok());
    let value = value.ok_or_else(|| refuse(missing))?;
    if values.next().is_some() {
        // A gateway in front may have checked the other one.
        return Err(refuse("Send the header Authorization once."));
    }
    match value.split_once(' ') {
        Some((scheme, token)) if scheme.eq_ignore_ascii_case("bearer") => Ok(token.trim()),
        Some(_) | None => Err(refuse(missing)),
    }
}

fn refuse(detail: &'static str) -> Problem {
    Problem::Unauthenticated { detail }
}

/// For the fuzz target: whether a key of the set takes HMAC. `None` without a key that is used.
pub(super) fn key_set_has_secrets(text: &[u8]) -> Option<bool> {
    let checks = Checks::from(&config::Auth::default());
    let keys = jwks::read(text, &checks).ok()?;
    let hmac = [Algorithm::HS256, Algorithm::HS384, Algorithm::HS512];
    let takes_hmac = |key: &jwks::Key| hmac.iter().any(|it| key.verifier.accepts(*it));
    Some(keys.iter().any(takes_hmac))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The bound counts bytes: 20,000 tokens of the largest size were 640 MB.
    #[test]
    fn huge_tokens_take_bounded_memory() {
        let tokens = cache();
        let exp = now().timestamp() + 60;
        let verified = session_of(Claims::of_buyer("ann".to_owned(), exp), None).unwrap();
        for number in 0..2_000 {
            tokens.insert(format!("{number:030000}"), verified.clone());
        }
        tokens.run_pending_tasks();
        let kept: usize = tokens.iter().map(|(token, _)| token.len()).sum();
        assert!(u64::try_from(kept).unwrap() <= VERIFIED_BYTES_MAX, "{kept}");
        assert!(kept > 0);
    }

    #[test]
    fn a_token_has_expired_at_its_exp() {
        let at = |exp| session_of(Claims::of_buyer("ann".to_owned(), exp), None);
        let now = now().timestamp();
        assert_eq!(at(now).err(), Some(Refused::INVALID));
        assert!(at(now + 60).is_ok());
    }
}
