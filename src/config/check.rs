//! Validates settings that clap's value parsers cannot check, with one-line errors.

use std::collections::HashSet;

use ipnet::IpNet;

use super::{Database, Origin, Redis, Serve};
use crate::domain::Secret;

/// An invalid setting or combination of settings, described in one line.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum Error {
    #[error("REDIS_LOCK_URLS: give 1, 3 or 5 nodes, not {0}: only these have a useful majority")]
    LockNodes(usize),
    #[error("{0}: not a URL of the form {1}")]
    Url(&'static str, &'static str),
    #[error("REDIS_LOCK_URLS: a node is named twice; a majority needs independent nodes")]
    LockNodeTwice,
    #[error(
        "REDIS_URL: a cluster or a sentinel cannot hold the lock, \
         which needs independent nodes: give them as REDIS_LOCK_URLS"
    )]
    NoLockNodes,
    #[error("AUTH_SECRET: is empty or blank")]
    BlankSecret,
    #[error(
        "AUTH_SECRET: is missing, but {0} is set: nodes with the same database or Redis need the \
         same secret of {SECRET_MIN} bytes or more (or AUTH_PUBLIC_KEY, or AUTH_JWKS_URL)"
    )]
    NoSharedSecret(&'static str),
    #[error(
        "AUTH_SECRET: give {SECRET_MIN} bytes or more, without the blanks around them; a shorter \
         one can be guessed from a token"
    )]
    ShortSecret,
    #[error(
        "AUTH_SECRET: a comma separates several secrets, and one of them is shorter than \
         {SECRET_MIN} bytes"
    )]
    ShortSecretOfMany,
    #[error(
        "AUTH_ISSUER: is missing, but AUTH_JWKS_URL is set: name the provider's issuer, the iss of \
         its tokens"
    )]
    NoIssuer,
    #[error(
        "AUTH_AUDIENCE: is missing, but AUTH_JWKS_URL is set: without it the tokens that the \
         provider makes for any other application would be accepted too; * accepts them"
    )]
    NoAudience,
    #[error("AUTH_AUDIENCE: an audience is empty")]
    BlankAudience,
    #[error("DATABASE_DIRECT_URL: needs a DATABASE_URL of PostgreSQL, whose server it leads to")]
    DirectAlone,
    #[error("{0}: sslmode is none of {list}", list = SSL_MODES.join(", "))]
    SslMode(&'static str),
    #[error("PGSSLMODE: is none of {}", SSL_MODES.join(", "))]
    SslModeVariable,
    #[error("{0}: has a parameter that is none of {list}", list = PARAMETERS.join(", "))]
    Parameter(&'static str),
    #[error("{0}: has a parameter twice, and only one of them would count")]
    ParameterTwice(&'static str),
    #[error(
        "{0}: has a fragment (#…), which is ignored with the parameters in it; write # in a password \
         as %23"
    )]
    Fragment(&'static str),
    #[error("PAYMENT_KEY: PAYMENTS=stripe needs the secret key of an account")]
    NoPaymentKey,
    #[error("PAYMENT_KEY: is not a key: give visible ASCII characters without a colon")]
    PaymentKey,
    #[error("STRIPE_WEBHOOK_SECRET: is not a secret: give visible ASCII characters")]
    WebhookSecret,
    #[error("OPS_PASSWORD: give 8 bytes or more, without the blanks around them")]
    ShortPassword,
    #[error("STREAMS_MAX: must be below CONNECTIONS_MAX, {0}: the rest is for requests")]
    Streams(u32),
    #[error(
        "TRUSTED_PROXIES: {0} is wider than /8 (IPv6: /16), and a client inside a trusted network \
         chooses its address"
    )]
    TrustsClients(IpNet),
    #[error(
        "CORS_ORIGINS: {0} is not an origin such as https://shop.example or https://*.shop.example"
    )]
    Origin(String),
}

const REDIS_FORM: &str = "redis://host:port or rediss://host:port";
const REDIS_ANY_FORM: &str = "redis[s][-cluster|-sentinel]://host:port";
const DATABASE_FORM: &str = "postgres://… or sqlite://…";

/// RFC 7518 requires a key of at least the size of the hash.
pub const SECRET_MIN: usize = 32;

const SSL_MODES: [&str; 6] = [
    "disable",
    "allow",
    "prefer",
    "require",
    "verify-ca",
    "verify-full",
];
/// The parameters that sqlx reads from a PostgreSQL URL. It only logs a warning at others, so that
/// a typo would connect without what the parameter asks for.
const PARAMETERS: [&str; 18] = [
    "sslmode",
    "sslrootcert",
    "sslcert",
    "sslkey",
    "application_name",
    "options",
    "host",
    "hostaddr",
    "port",
    "dbname",
    "user",
    "password",
    "statement-cache-capacity",
    "ssl-mode",
    "ssl-root-cert",
    "ssl-ca",
    "ssl-cert",
    "ssl-key",
];

impl Serve {
    /// Checks the settings that clap's value parsers cannot check.
    pub fn check(&self) -> Result<(), Error> {
        self.database.check()?;
        self.auth.check()?;
        self.redis.check()?;
        self.payments.check()?;
        self.connections.check()?;
        self.monitor.check()?;
        self.telemetry.check()?;
        for origin in &self.cors_origins {
            if Origin::parse(origin).is_none() {
                return Err(Error::Origin(origin.clone()));
            }
        }
        self.check_shared_secret()
    }

    /// A secret that a node generated would be unknown to the nodes that share its database or
    /// Redis: each would refuse the tokens of the others.
    fn check_shared_secret(&self) -> Result<(), Error> {
        let shared = [
            ("DATABASE_URL", self.database.database_url.is_some()),
            ("REDIS_LOCK_URLS", !self.redis.redis_lock_urls.is_empty()),
            ("REDIS_URL", self.redis.redis_url.is_some()),
        ];
        let Some((setting, _)) = shared.into_iter().find(|(_, is_set)| *is_set) else {
            return Ok(());
        };
        let secrets = &self.auth.auth_secret;
        if secrets.is_empty() && !self.auth.has_public_keys() {
            return Err(Error::NoSharedSecret(setting));
        }
        let mut sizes = secrets.iter().map(|secret| secret.expose().len());
        if sizes.any(|size| size < SECRET_MIN) {
            return Err(Error::ShortSecret);
        }
        Ok(())
    }
}

impl Database {
    pub fn is_sqlite(&self) -> bool {
        (self.database_url.as_ref()).is_none_or(|url| url_has_scheme(url.expose(), &["sqlite"]))
    }

    pub fn check(&self) -> Result<(), Error> {
        match &self.database_url {
            Some(url) if !url_has_scheme(url.expose(), &["postgres", "postgresql", "sqlite"]) => {
                Err(Error::Url("DATABASE_URL", DATABASE_FORM))
            }
            Some(url) if url.expose().starts_with("postgres") => {
                check_parameters("DATABASE_URL", url.expose())
            }
            Some(_) | None => Ok(()),
        }?;
        match &self.database_direct_url {
            Some(url) if !url_has_scheme(url.expose(), &["postgres", "postgresql"]) => {
                Err(Error::Url("DATABASE_DIRECT_URL", "postgres://…"))
            }
            Some(_) if self.is_sqlite() => Err(Error::DirectAlone),
            Some(url) => check_parameters("DATABASE_DIRECT_URL", url.expose()),
            None => Ok(()),
        }
    }
}

impl Redis {
    /// The configured nodes of the lock; empty means private nodes.
    pub fn lock_nodes(&self) -> Vec<Secret> {
        if self.redis_lock_urls.is_empty() {
            self.redis_url.iter().cloned().collect()
        } else {
            self.redis_lock_urls.clone()
        }
    }

    pub fn check(&self) -> Result<(), Error> {
        let nodes = self.lock_nodes();
        if !matches!(nodes.len(), 0 | 1 | 3 | 5) {
            return Err(Error::LockNodes(nodes.len()));
        }
        let alone = self.redis_lock_urls.is_empty();
        for (index, node) in nodes.iter().enumerate() {
            if !alone && redis::Client::open(node.expose()).is_err() {
                return Err(Error::Url("REDIS_LOCK_URLS", REDIS_FORM));
            }
            if nodes.iter().take(index).any(|other| other == node) {
                return Err(Error::LockNodeTwice);
            }
        }
        match &self.redis_url {
            Some(url) if fred::types::config::Config::from_url(url.expose()).is_err() => {
                Err(Error::Url("REDIS_URL", REDIS_ANY_FORM))
            }
            Some(url) if alone && redis::Client::open(url.expose()).is_err() => {
                Err(Error::NoLockNodes)
            }
            Some(_) | None => Ok(()),
        }
    }
}

/// The errors quote nothing: a password with a question mark looks like a parameter.
fn check_parameters(setting: &'static str, url: &str) -> Result<(), Error> {
    if url.contains('#') {
        return Err(Error::Fragment(setting));
    }
    let (_, query) = url.split_once('?').unwrap_or_default();
    let mut seen = HashSet::new();
    for pair in query.split('&').filter(|pair| !pair.is_empty()) {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        if matches!(name, "sslmode" | "ssl-mode") && !is_ssl_mode(value) {
            return Err(Error::SslMode(setting));
        }
        let is_option = name.starts_with("options[") || name.starts_with("options%5B");
        if !is_option && !PARAMETERS.contains(&name) {
            return Err(Error::Parameter(setting));
        }
        if !seen.insert(canonical(name)) {
            return Err(Error::ParameterTwice(setting));
        }
    }
    match std::env::var_os("PGSSLMODE") {
        // sqlx ignores a value that it does not know.
        Some(mode) if !is_ssl_mode(&mode.to_string_lossy()) => Err(Error::SslModeVariable),
        Some(_) | None => Ok(()),
    }
}

/// sqlx reads `ssl-mode` as `sslmode`, and so on; the last one of them counts.
fn canonical(name: &str) -> String {
    match name {
        "ssl-ca" => "sslrootcert".to_owned(),
        name => name.replace('-', ""),
    }
}

fn is_ssl_mode(text: &str) -> bool {
    let mut modes = SSL_MODES.iter();
    modes.any(|mode| mode.eq_ignore_ascii_case(text))
}

fn url_has_scheme(url: &str, schemes: &[&str]) -> bool {
    url.split_once("://")
        .is_some_and(|(scheme, rest)| schemes.contains(&scheme) && !rest.is_empty())
}
