//! The claims of a token: who the caller is, until when, and whether an admin.

use std::{sync::Arc, time::Duration};

use chrono::{DateTime, Utc};
use jsonwebtoken::errors;
use serde::{Deserialize, Deserializer, de::Error as _};
use serde_json::{Map, Value};

use super::{Role, Session, User};
use crate::config::AdminClaim;

/// The longest `sub`, in bytes.
const USER_ID_MAX: usize = 255;

/// The claims that the service reads. Those that only have to be right (`iss`, `aud`, `nbf`) are
/// checked with the signature.
#[derive(Debug, Deserialize)]
pub(super) struct Claims {
    sub: String,
    #[serde(deserialize_with = "unix_time")]
    exp: i64,
    /// The claim of admins where none is configured.
    #[serde(default)]
    role: Value,
}

/// The `sub` of a token is empty, too long or has control characters.
#[derive(Debug)]
pub(super) struct UnusableSub;

impl Claims {
    /// The claims of a ticket.
    pub(super) fn of_buyer(sub: String, exp: i64) -> Self {
        let role = Value::Null;
        Self { sub, exp, role }
    }

    /// The claims of a token; with `admin` that claim decides who is an admin, whatever `role` is.
    pub(super) fn read(
        claims: Map<String, Value>,
        admin: &AdminClaim,
    ) -> Result<Self, errors::Error> {
        let role = if holds(&claims, &admin.name, &admin.value) {
            Value::from(ADMIN)
        } else {
            Value::Null
        };
        let read: Self = serde_json::from_value(Value::Object(claims))?;
        Ok(Self { role, ..read })
    }

    pub(super) fn into_session(self) -> Result<Session, UnusableSub> {
        if !is_user_id(&self.sub) {
            return Err(UnusableSub);
        }
        let user = User {
            id: Arc::from(self.sub),
            role: match self.role.as_str() {
                Some(ADMIN) => Role::Admin,
                Some(_) | None => Role::Buyer,
            },
        };
        let expires_at = time(self.exp);
        Ok(Session { user, expires_at })
    }
}

/// The value of `role` that makes an admin.
pub(super) const ADMIN: &str = "admin";

/// Whether this can be the `sub` of a token.
pub(in crate::api) fn is_user_id(text: &str) -> bool {
    (1..=USER_ID_MAX).contains(&text.len()) && !text.chars().any(char::is_control)
}

/// A time in seconds of Unix time; one beyond the calendar is its last.
pub(super) fn time(seconds: i64) -> DateTime<Utc> {
    DateTime::from_timestamp(seconds, 0).unwrap_or(DateTime::<Utc>::MAX_UTC)
}

/// A `NumericDate` (RFC 7519, section 2) is any JSON number, such as `1.7e9` and `1700000000.5`;
/// fractions of a second are cut off.
fn unix_time<'de, D: Deserializer<'de>>(deserializer: D) -> Result<i64, D::Error> {
    let number = serde_json::Number::deserialize(deserializer)?;
    let whole = number.as_i64().or_else(|| {
        let since = Duration::try_from_secs_f64(number.as_f64()?).ok()?;
        i64::try_from(since.as_secs()).ok()
    });
    whole.ok_or_else(|| D::Error::custom("not a time"))
}

/// Whether the claim is `value`, or a list with it. A name with dots is that of a claim
/// (`https://shop.example/roles`), or leads into objects (`realm_access.roles`).
fn holds(claims: &Map<String, Value>, name: &str, value: &str) -> bool {
    if let Some(claim) = claims.get(name) {
        return match claim {
            Value::String(text) => text == value,
            Value::Array(items) => items.iter().any(|item| item.as_str() == Some(value)),
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::Object(_) => false,
        };
    }
    name.match_indices('.').any(|(dot, _)| {
        let (outer, inner) = (name.get(..dot), name.get(dot + 1..));
        let object = outer.and_then(|outer| claims.get(outer)?.as_object());
        match (object, inner) {
            (Some(object), Some(inner)) => holds(object, inner, value),
            (Some(_) | None, _) => false,
        }
    })
}

#[cfg(test)]
mod tests {
    use rstest::rstest;
    use serde_json::json;

    use super::*;

    #[rstest]
    #[case("roles", json!({ "roles": "admin" }), true)]
    #[case("roles", json!({ "roles": ["buyer", "admin"] }), true)]
    #[case("roles", json!({ "roles": "buyer admin" }), false)]
    #[case("roles", json!({ "roles": ["buyer"] }), false)]
    #[case("roles", json!({ "roles": [["admin"], { "admin": true }, 1] }), false)]
    #[case("roles", json!({ "roles": { "admin": true } }), false)]
    #[case("roles", json!({ "role": "admin" }), false)]
    #[case("realm_access.roles", json!({ "realm_access": { "roles": ["admin"] } }), true)]
    #[case("realm_access.roles", json!({ "realm_access": { "roles": ["buyer"] } }), false)]
    #[case("realm_access.roles", json!({ "realm_access": ["roles", "admin"] }), false)]
    #[case("realm_access.roles", json!({ "roles": ["admin"] }), false)]
    #[case("resource_access.shop.eu.roles", json!({ "resource_access": { "shop.eu": { "roles": ["admin"] } } }), true)]
    #[case("https://shop.example/roles", json!({ "https://shop.example/roles": ["admin"] }), true)]
    #[case("a.", json!({ "a": { "": "admin" } }), true)]
    #[case("é.roles", json!({ "é": { "roles": "admin" } }), true)]
    fn an_admin_has_the_value_in_the_claim(
        #[case] name: &str,
        #[case] claims: Value,
        #[case] is_admin: bool,
    ) {
        let claims = claims.as_object().unwrap();
        assert_eq!(holds(claims, name, "admin"), is_admin);
    }

    #[rstest]
    #[case(json!(1_700_000_000), Some(1_700_000_000))]
    #[case(json!(1.7e9), Some(1_700_000_000))]
    #[case(json!(1_700_000_000.9), Some(1_700_000_000))]
    #[case(json!(u64::MAX), None)]
    #[case(json!(1e300), None)]
    #[case(json!(-0.5), None)]
    #[case(json!("1700000000"), None)]
    #[case(json!(null), None)]
    #[case(json!([1_700_000_000]), None)]
    fn a_time_is_any_number(#[case] exp: Value, #[case] seconds: Option<i64>) {
        let claims = serde_json::from_value::<Claims>(json!({ "sub": "ann", "exp": exp }));
        assert_eq!(claims.ok().map(|claims| claims.exp), seconds);
    }
}
