//! Settings of authentication: the keys that verify tokens, and what every token has to claim.

use std::{net::IpAddr, str::FromStr, time::Duration};

use clap::Args;
use reqwest::Url;

use super::{Error, SECRET_MIN, value};
use crate::domain::Secret;

#[derive(Args, Clone, Debug, Default)]
pub struct Auth {
    /// Secrets of HS256 tokens, comma-separated, 32 bytes or more: the first signs, all verify, so
    /// that one can be replaced while its tokens are in use. Generated into `DATA_DIR` when no key
    /// is given and neither the database nor Redis is shared with other nodes
    #[arg(
        long,
        env,
        value_name = "AUTH_SECRET",
        value_delimiter = ',',
        value_parser = value::trimmed::<Secret>,
        hide_env_values = true
    )]
    pub auth_secret: Vec<Secret>,

    /// Public keys of RS256, ES256 or `EdDSA` tokens: the PEM text, or the path of its file
    #[arg(long, env, value_name = "AUTH_PUBLIC_KEY")]
    pub auth_public_key: Option<String>,

    /// Address of the keys (JWKS) of an identity provider, whose tokens are accepted; https, or a
    /// loopback host. Needs `AUTH_ISSUER` and `AUTH_AUDIENCE`
    #[arg(long, env, value_name = "AUTH_JWKS_URL")]
    pub auth_jwks_url: Option<String>,

    /// How often the identity provider's keys are read again, in seconds: a key that it has removed
    /// is accepted for that long
    #[arg(long, env, value_name = "AUTH_JWKS_REFRESH_SECONDS", default_value_t = 300,
          value_parser = value::number(1..=86_400))]
    pub auth_jwks_refresh_seconds: u32,

    /// The `iss` that every token must have
    #[arg(long, env, value_name = "AUTH_ISSUER")]
    pub auth_issuer: Option<String>,

    /// The values of `aud`, comma-separated, of which every token must have one; `*` for any
    #[arg(long, env, value_name = "AUTH_AUDIENCE", value_delimiter = ',',
          value_parser = value::trimmed::<String>)]
    pub auth_audience: Vec<String>,

    /// The claim and the value that make an admin, such as `realm_access.roles=admin`: a string, or
    /// a list with it. The string `role=admin` when not given
    #[arg(long, env, value_name = "AUTH_ADMIN_CLAIM")]
    pub auth_admin_claim: Option<AdminClaim>,
}

/// The claim of admins. A dot in the name leads into an object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AdminClaim {
    pub name: String,
    pub value: String,
}

impl FromStr for AdminClaim {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text.split_once('=') {
            Some((name, value)) if !name.is_empty() && !value.is_empty() => Ok(Self {
                name: name.to_owned(),
                value: value.to_owned(),
            }),
            Some(_) | None => Err("give a claim and its value, such as roles=admin"),
        }
    }
}

const JWKS_FORM: &str = "https://host[:port][/path], or http:// with a loopback host";
const ANY_AUDIENCE: &str = "*";

impl Auth {
    pub fn check(&self) -> Result<(), Error> {
        let sizes = || self.auth_secret.iter().map(|secret| secret.expose().len());
        if sizes().any(|size| size == 0) {
            return Err(Error::BlankSecret);
        }
        // Also in the embedded default: most likely one secret was cut at a comma.
        if self.auth_secret.len() > 1 && sizes().any(|size| size < SECRET_MIN) {
            return Err(Error::ShortSecretOfMany);
        }
        if self.auth_audience.iter().any(String::is_empty) {
            return Err(Error::BlankAudience);
        }
        match &self.auth_jwks_url {
            Some(url) if !is_jwks_url(url) => Err(Error::Url("AUTH_JWKS_URL", JWKS_FORM)),
            Some(_) if self.auth_issuer.is_none() => Err(Error::NoIssuer),
            Some(_) if self.auth_audience.is_empty() => Err(Error::NoAudience),
            Some(_) | None => Ok(()),
        }
    }

    /// Whether tokens are verified with keys of somebody else, so that no secret is needed.
    pub fn has_public_keys(&self) -> bool {
        self.auth_public_key.is_some() || self.auth_jwks_url.is_some()
    }

    /// The audiences of which a token must have one; empty means any.
    pub fn audiences(&self) -> &[String] {
        if self.accepts_any_audience() {
            return &[];
        }
        &self.auth_audience
    }

    pub fn accepts_any_audience(&self) -> bool {
        (self.auth_audience.iter()).any(|audience| audience == ANY_AUDIENCE)
    }

    pub fn jwks_refresh(&self) -> Duration {
        Duration::from_secs(self.auth_jwks_refresh_seconds.into())
    }
}

/// Keys that are read without TLS are those of everybody on the way. A user in the URL could appear
/// in logs.
fn is_jwks_url(text: &str) -> bool {
    Url::parse(text).is_ok_and(|url| {
        let is_private = match url.scheme() {
            "https" => true,
            "http" => url.host_str().is_some_and(is_loopback),
            _ => false,
        };
        is_private && url.has_host() && url.username().is_empty() && url.password().is_none()
    })
}

fn is_loopback(host: &str) -> bool {
    let address = host.trim_start_matches('[').trim_end_matches(']');
    host == "localhost" || (address.parse::<IpAddr>()).is_ok_and(|address| address.is_loopback())
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case(
        "https://login.example/realms/shop/protocol/openid-connect/certs",
        true
    )]
    #[case("https://login.example/keys?p=b2c", true)]
    #[case("http://127.0.0.1:8080/jwks", true)]
    #[case("http://[::1]:8080/jwks", true)]
    #[case("http://localhost/jwks", true)]
    #[case("http://login.example/jwks", false)]
    #[case("http://127.0.0.1.login.example/jwks", false)]
    #[case("http://localhost.login.example/jwks", false)]
    #[case("https://user@login.example/jwks", false)]
    #[case("https://:word@login.example/jwks", false)]
    #[case("file:///etc/jwks", false)]
    #[case("login.example/jwks", false)]
    fn keys_come_over_tls_or_from_this_machine(#[case] url: &str, #[case] usable: bool) {
        assert_eq!(is_jwks_url(url), usable);
    }

    #[test]
    fn an_admin_claim_has_a_name_and_a_value() {
        let claim = "https://shop.example/roles=admin".parse::<AdminClaim>();
        let claim = claim.unwrap();
        assert_eq!(
            (&*claim.name, &*claim.value),
            ("https://shop.example/roles", "admin")
        );
        for bad in ["", "roles", "=admin", "roles="] {
            assert!(bad.parse::<AdminClaim>().is_err(), "{bad}");
        }
    }
}
