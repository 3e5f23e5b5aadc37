//! Signed tokens of users and admins, as the shop's login would issue them.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde_json::Value;

/// `AUTH_SECRET` of the services in the tests.
pub(crate) const SECRET: &str = "only-for-the-tests-0123456789abcdef0123456789abcdef";

const TTL: Duration = Duration::from_hours(1);

pub(crate) fn user(name: &str) -> String {
    test_support::tokens::buyer(SECRET, name, TTL).unwrap()
}

pub(crate) fn admin() -> String {
    admin_of_name("the-admin")
}

pub(crate) fn admin_of_name(name: &str) -> String {
    test_support::tokens::admin(SECRET, name, TTL).unwrap()
}

pub(crate) fn sign(claims: &Value) -> String {
    sign_with(SECRET, claims)
}

pub(crate) fn sign_with(secret: &str, claims: &Value) -> String {
    test_support::tokens::sign(secret, claims).unwrap()
}

/// Unix time of `seconds` from now.
pub(crate) fn expiry(seconds: i64) -> i64 {
    let now = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap()
        .as_secs();
    i64::try_from(now).unwrap() + seconds
}

/// `{"alg":"none","typ":"JWT"}`
const UNSIGNED: &str = "eyJhbGciOiJub25lIiwidHlwIjoiSldUIn0";

/// An admin's claims with no signature at all.
pub(crate) fn unsigned() -> String {
    let signed = admin();
    let claims = signed.split('.').nth(1).unwrap();
    format!("{UNSIGNED}.{claims}.")
}
