//! Signs HS256 tokens: for guests of the demo and the command `token`.

use std::time::Duration;

use jsonwebtoken::{Algorithm, EncodingKey, Header};
use serde_json::{Map, Value};

use super::{Error, Role, claims::ADMIN};
use crate::{
    config::{self, AdminClaim},
    domain::{Secret, now},
};

/// A secret, and the claims that this service asks of every token.
#[derive(Clone)]
pub struct Signer {
    key: EncodingKey,
    issuer: Option<String>,
    audience: Option<String>,
    admin: Option<AdminClaim>,
}

impl std::fmt::Debug for Signer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Signer").finish_non_exhaustive()
    }
}

impl Signer {
    pub fn new(secret: &Secret, auth: &config::Auth) -> Self {
        Self {
            key: EncodingKey::from_secret(secret.expose().as_bytes()),
            issuer: auth.auth_issuer.clone(),
            audience: auth.audiences().first().cloned(),
            admin: auth.auth_admin_claim.clone(),
        }
    }

    /// A token for `user` that expires after `ttl`.
    ///
    /// # Errors
    /// When the secret cannot sign.
    pub fn sign(&self, user: &str, role: Role, ttl: Duration) -> Result<String, Error> {
        let seconds = i64::try_from(ttl.as_secs()).unwrap_or(i64::MAX);
        let mut claims = Map::new();
        if role == Role::Admin {
            // A nested claim is found by its whole name too.
            let (name, value) = match &self.admin {
                Some(admin) => (admin.name.as_str(), admin.value.as_str()),
                None => ("role", ADMIN),
            };
            claims.insert(name.to_owned(), value.into());
        }
        if let Some(issuer) = &self.issuer {
            claims.insert("iss".to_owned(), issuer.as_str().into());
        }
        if let Some(audience) = &self.audience {
            claims.insert("aud".to_owned(), audience.as_str().into());
        }
        let exp = now().timestamp().saturating_add(seconds);
        claims.insert("exp".to_owned(), exp.into());
        claims.insert("sub".to_owned(), user.into());
        let header = Header::new(Algorithm::HS256);
        jsonwebtoken::encode(&header, &Value::Object(claims), &self.key).map_err(Error::Sign)
    }
}
