//! The users of a run and their tokens: an admin, who creates the products, and buyers.

use std::{path::Path, time::Duration};

use anyhow::Context;
use axum::http::HeaderValue;
use flash_sale::domain::Secret;
use serde::Deserialize;
use test_support::tokens;

/// Longer than any run.
const TTL: Duration = Duration::from_hours(12);

#[derive(Debug)]
pub(crate) struct User {
    /// The token's `sub`.
    pub(crate) name: String,
    /// The value of `Authorization`.
    pub(crate) token: HeaderValue,
}

#[derive(Debug)]
pub(crate) struct Users {
    pub(crate) admin: User,
    buyers: Vec<User>,
}

/// The source of tokens: signed by the runner, or read from a file.
#[derive(Clone, Debug)]
pub(crate) enum Source {
    Secret(Secret),
    /// One token per line.
    Lines(Vec<String>),
}

impl Source {
    pub(crate) fn file(path: &Path) -> anyhow::Result<Self> {
        let text = std::fs::read_to_string(path)
            .with_context(|| format!("--tokens: cannot read {}", path.display()))?;
        let lines: Vec<String> = text
            .lines()
            .map(str::trim)
            .filter(|line| !line.is_empty())
            .map(str::to_owned)
            .collect();
        anyhow::ensure!(
            lines.len() >= 2,
            "--tokens: {} needs an admin's token and at least one buyer's",
            path.display()
        );
        Ok(Self::Lines(lines))
    }

    /// A buyer of this name; `None` where tokens are read from a file.
    pub(crate) fn buyer(&self, name: &str) -> Option<User> {
        let Self::Secret(secret) = self else {
            return None;
        };
        let token = tokens::buyer(secret.expose(), name, TTL).ok()?;
        User::new(name.to_owned(), &token).ok()
    }

    /// Up to `buyers` buyers, as many as there are tokens, with names unique to the run.
    pub(crate) fn users(&self, run: &str, buyers: u32) -> anyhow::Result<Users> {
        match self {
            Self::Secret(secret) => {
                let secret = secret.expose();
                let buyer = |number| {
                    let name = format!("{run}-{number}");
                    let token = tokens::buyer(secret, &name, TTL)?;
                    User::new(name, &token)
                };
                let name = format!("{run}-admin");
                let token = tokens::admin(secret, &name, TTL)?;
                Ok(Users {
                    admin: User::new(name, &token)?,
                    buyers: (1..=buyers.max(1))
                        .map(buyer)
                        .collect::<anyhow::Result<_>>()?,
                })
            }
            Self::Lines(lines) => {
                let mut users = lines.iter().map(|line| User::read(line));
                let admin = users.next().context("--tokens: empty")??;
                let wanted = usize::try_from(buyers.max(1)).unwrap_or(usize::MAX);
                let buyers = users.take(wanted).collect::<anyhow::Result<_>>()?;
                Ok(Users { admin, buyers })
            }
        }
    }
}

impl Users {
    /// With fewer tokens than users, users share tokens.
    pub(crate) fn buyer(&self, number: u32) -> &User {
        let number = usize::try_from(number).unwrap_or_default();
        self.buyers
            .get(number % self.buyers.len().max(1))
            .unwrap_or(&self.admin)
    }
}

impl User {
    /// Reads the name only; the service checks the signature.
    fn read(token: &str) -> anyhow::Result<Self> {
        #[derive(Deserialize)]
        struct Claims {
            sub: String,
        }
        let claims = jsonwebtoken::dangerous::insecure_decode::<Claims>(token)
            .context("--tokens: a line is not a token")?;
        Self::new(claims.claims.sub, token)
    }

    fn new(name: String, token: &str) -> anyhow::Result<Self> {
        let mut token = HeaderValue::from_str(&format!("Bearer {token}"))?;
        token.set_sensitive(true);
        Ok(Self { name, token })
    }
}
