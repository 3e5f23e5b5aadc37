//! Validates settings that clap's value parsers cannot check, with one-line errors.

use super::{Auth, Database, Redis, Serve};
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
    #[error("AUTH_SECRET: is empty")]
    EmptySecret,
    #[error("PAYMENT_KEY: PAYMENTS=stripe needs the secret key of an account")]
    NoPaymentKey,
    #[error("PAYMENT_KEY: is not a key: give visible ASCII characters without a colon")]
    PaymentKey,
    #[error("CORS_ORIGINS: {0} is not an origin such as https://shop.example")]
    Origin(String),
}

const REDIS_FORM: &str = "redis://host:port or rediss://host:port";
const REDIS_ANY_FORM: &str = "redis[s][-cluster|-sentinel]://host:port";
const DATABASE_FORM: &str = "postgres://… or sqlite://…";

impl Serve {
    /// Checks the settings that clap's value parsers cannot check.
    pub fn check(&self) -> Result<(), Error> {
        self.database.check()?;
        self.auth.check()?;
        self.redis.check()?;
        self.payments.check()?;
        for origin in &self.cors_origins {
            let is_origin = url_has_scheme(origin, &["http", "https"])
                && origin.matches('/').count() == 2
                && axum::http::HeaderValue::from_str(origin).is_ok();
            if !is_origin {
                return Err(Error::Origin(origin.clone()));
            }
        }
        Ok(())
    }
}

impl Database {
    pub fn check(&self) -> Result<(), Error> {
        match &self.database_url {
            Some(url) if !url_has_scheme(url.expose(), &["postgres", "postgresql", "sqlite"]) => {
                Err(Error::Url("DATABASE_URL", DATABASE_FORM))
            }
            Some(_) | None => Ok(()),
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

impl Auth {
    pub fn check(&self) -> Result<(), Error> {
        match &self.auth_secret {
            Some(secret) if secret.expose().is_empty() => Err(Error::EmptySecret),
            Some(_) | None => Ok(()),
        }
    }
}

fn url_has_scheme(url: &str, schemes: &[&str]) -> bool {
    url.split_once("://")
        .is_some_and(|(scheme, rest)| schemes.contains(&scheme) && !rest.is_empty())
}
