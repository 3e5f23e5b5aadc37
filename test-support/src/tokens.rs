//! Tokens signed with a shared secret (HMAC), as the shop's login would issue them.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::Context;
use jsonwebtoken::{EncodingKey, Header, encode};
use serde_json::{Value, json};

/// Any claims, signed with HMAC.
pub fn sign(secret: &str, claims: &Value) -> anyhow::Result<String> {
    let key = EncodingKey::from_secret(secret.as_bytes());
    encode(&Header::default(), claims, &key).context("cannot sign a token")
}

/// A token of a user without a role.
pub fn buyer(secret: &str, name: &str, ttl: Duration) -> anyhow::Result<String> {
    sign(secret, &json!({ "sub": name, "exp": expiry(ttl)? }))
}

/// A token of a user with the role `admin`.
pub fn admin(secret: &str, name: &str, ttl: Duration) -> anyhow::Result<String> {
    let claims = json!({ "sub": name, "role": "admin", "exp": expiry(ttl)? });
    sign(secret, &claims)
}

/// Seconds of Unix time.
fn expiry(ttl: Duration) -> anyhow::Result<u64> {
    Ok((SystemTime::now().duration_since(UNIX_EPOCH)? + ttl).as_secs())
}
