//! Tickets for event streams: short-lived, for one user and one purpose, so that an address with
//! one in a log or a history is worth nothing soon.
//!
//! A ticket is a signed token of its own kind. Its key is not the key of the callers' tokens, so
//! neither passes for the other; every node derives or reads the same key.

use std::collections::HashSet;

use chrono::{DateTime, TimeDelta, Utc};
use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header, Validation};
use serde::{Deserialize, Serialize};

use super::{
    Session,
    claims::{Claims, time},
    refuse,
};
use crate::{
    api::problem::Problem,
    domain::{Secret, now},
};

/// Long enough to open a stream, and to open it again at once.
const TTL: TimeDelta = TimeDelta::seconds(60);
const AUDIENCE: &str = "/me/events";
/// The text whose signature by a secret of `AUTH_SECRET` is a key of tickets.
const KEY_NAME: &[u8] = b"flash-sale tickets for /me/events";

/// Issues and verifies tickets.
pub struct Tickets {
    encoding: EncodingKey,
    /// The key of `encoding`, and those that nodes may still use while a secret is replaced.
    decoding: Vec<DecodingKey>,
    validation: Validation,
}

#[derive(Debug, Serialize, Deserialize)]
struct Ticket {
    sub: String,
    exp: i64,
    aud: String,
    /// When the token expires that the ticket was issued for, and with it the stream.
    until: i64,
}

impl std::fmt::Debug for Tickets {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Tickets").finish_non_exhaustive()
    }
}

impl Tickets {
    /// Tickets of keys derived from the secrets: the first one's signs, all verify.
    ///
    /// # Errors
    /// When a secret cannot sign.
    pub fn derived(first: &Secret, others: &[Secret]) -> Result<Self, super::Error> {
        let mut tickets = Self::new(&derive(first)?);
        for secret in others {
            let key = derive(secret)?;
            let key = DecodingKey::from_secret(key.expose().as_bytes());
            tickets.decoding.push(key);
        }
        Ok(tickets)
    }

    /// Tickets of a random key that all nodes share.
    pub fn new(key: &Secret) -> Self {
        let key = key.expose().as_bytes();
        let mut validation = Validation::new(Algorithm::HS256);
        validation.leeway = 0;
        validation.set_audience(&[AUDIENCE]);
        validation.required_spec_claims =
            HashSet::from(["exp", "sub", "aud"].map(std::borrow::ToOwned::to_owned));
        Self {
            encoding: EncodingKey::from_secret(key),
            decoding: vec![DecodingKey::from_secret(key)],
            validation,
        }
    }

    /// A ticket for the caller, and the time until which it opens a stream.
    pub fn issue(&self, session: &Session) -> Result<(String, DateTime<Utc>), Problem> {
        let expires_at = time((now() + TTL).min(session.expires_at).timestamp());
        let ticket = Ticket {
            sub: session.user.id.to_string(),
            exp: expires_at.timestamp(),
            aud: AUDIENCE.to_owned(),
            until: session.expires_at.timestamp(),
        };
        let header = Header::new(Algorithm::HS256);
        match jsonwebtoken::encode(&header, &ticket, &self.encoding) {
            Ok(ticket) => Ok((ticket, expires_at)),
            Err(error) => Err(Problem::Internal {
                cause: format!("cannot sign a ticket: {error}"),
            }),
        }
    }

    /// The session that a ticket was issued for.
    pub fn session(&self, ticket: &str) -> Result<Session, Problem> {
        let invalid = "The ticket is not valid, or expired.";
        let decode = |key| jsonwebtoken::decode::<Ticket>(ticket, key, &self.validation).ok();
        let ticket = self.decoding.iter().find_map(decode);
        let ticket = ticket.ok_or_else(|| refuse(invalid))?.claims;
        let session = Claims::of_buyer(ticket.sub, ticket.until).into_session();
        session.map_err(|_| refuse(invalid))
    }
}

fn derive(secret: &Secret) -> Result<Secret, super::Error> {
    let key = EncodingKey::from_secret(secret.expose().as_bytes());
    let derived = jsonwebtoken::crypto::sign(KEY_NAME, &key, Algorithm::HS256);
    Ok(Secret::new(derived.map_err(super::Error::Sign)?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        api::auth::{Keys, Role, sign::Signer},
        config::Auth,
    };

    fn session(seconds: i64) -> Session {
        let exp = now().timestamp() + seconds;
        let claims = Claims::of_buyer("ann".to_owned(), exp);
        claims.into_session().unwrap()
    }

    fn secret() -> Secret {
        Secret::new("a secret of 32 bytes, or of more than 32")
    }

    #[test]
    fn a_ticket_names_its_session_on_every_node() {
        let (session, other) = (session(3_600), Tickets::derived(&secret(), &[]).unwrap());
        let (ticket, expires_at) = Tickets::derived(&secret(), &[])
            .unwrap()
            .issue(&session)
            .unwrap();
        let found = other.session(&ticket).unwrap();
        assert_eq!(
            (found.user, found.expires_at),
            (session.user, session.expires_at)
        );
        assert!(expires_at <= now() + TTL);
        assert!(Tickets::new(&secret()).session(&ticket).is_err());
    }

    #[test]
    fn a_ticket_lives_no_longer_than_its_token() {
        let session = session(5);
        let (_, expires_at) = Tickets::new(&secret()).issue(&session).unwrap();
        assert_eq!(expires_at, session.expires_at);
        let (ticket, _) = Tickets::new(&secret()).issue(&self::session(-1)).unwrap();
        assert!(Tickets::new(&secret()).session(&ticket).is_err());
    }

    #[test]
    fn tickets_and_tokens_are_no_substitutes() {
        let tickets = Tickets::derived(&secret(), &[]).unwrap();
        let (ticket, _) = tickets.issue(&session(60)).unwrap();
        let keys = Keys::new(&[secret()], &Auth::default()).unwrap();
        assert!(keys.verify(&ticket).is_err());
        let signer = Signer::new(&secret(), &Auth::default());
        let token = signer.sign("ann", Role::Buyer, std::time::Duration::from_mins(1));
        assert!(tickets.session(&token.unwrap()).is_err());
    }

    #[test]
    fn a_ticket_of_the_former_secret_is_accepted() {
        let old = Tickets::derived(&secret(), &[]).unwrap();
        let (ticket, _) = old.issue(&session(60)).unwrap();
        let new = Secret::new("another secret of 32 bytes, or of more");
        let both = Tickets::derived(&new, &[secret()]).unwrap();
        assert!(both.session(&ticket).is_ok());
        let (ticket, _) = both.issue(&session(60)).unwrap();
        assert!(old.session(&ticket).is_err());
    }
}
