//! The keys of an identity provider (`AUTH_JWKS_URL`): fetched in the background, read without a
//! lock.
//!
//! The keys that were fetched last count until others have been fetched, so that a provider that is
//! down stops no sale. A token with an unknown key causes one fetch, which all such requests share,
//! and then none for a while: who makes up keys cannot make this service flood the provider.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use arc_swap::ArcSwapOption;
use futures::FutureExt;
use jsonwebtoken::{Header, errors::ErrorKind};
use parking_lot::Mutex;
use reqwest::{Client, StatusCode, Url, header};
use tokio::{
    sync::{Notify, watch},
    time::timeout,
};

use self::pace::Pace;
use super::{
    Error, Refused,
    claims::Claims,
    jwks::{self, Key, Unusable},
    verifier::Checks,
};
use crate::{
    config,
    domain::in_one_line,
    http_client,
    metrics::{self, auth::Fetch},
    tasks::Tasks,
};

mod pace;

/// One fetch. A provider that takes longer is as good as down.
const FETCH_WITHIN: Duration = Duration::from_secs(5);
const CONNECT_WITHIN: Duration = Duration::from_secs(2);
/// A key with a chain of certificates has about 5 KiB.
const ANSWER_BYTES_MAX: usize = 256 * 1024;
/// The pause after a failed fetch: short enough that a node that started without the provider is
/// soon of use, long enough to be no burden.
const RETRY_EVERY: Duration = Duration::from_secs(5);

/// Whether the provider's keys are known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Condition {
    Current,
    /// The last fetch failed; the keys of an earlier one are in use.
    Outdated,
    /// No fetch has succeeded since the start.
    Missing,
}

/// The identity provider, and its keys as of the last fetch.
pub struct Provider {
    url: Url,
    client: Client,
    checks: Checks,
    refresh_every: Duration,
    known: ArcSwapOption<KeySet>,
    pace: Mutex<Pace>,
    /// Wakes the task that fetches.
    wanted: Notify,
    /// Changes whenever a fetch has ended.
    ended: watch::Sender<()>,
}

/// The keys of one answer.
struct KeySet {
    /// Sets with the same text have the same number.
    number: u64,
    text: Vec<u8>,
    keys: Vec<Key>,
}

impl std::fmt::Debug for Provider {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Provider").finish_non_exhaustive()
    }
}

#[derive(Debug, thiserror::Error)]
enum Failure {
    #[error("no answer within {} seconds", FETCH_WITHIN.as_secs())]
    Timeout,
    #[error("the call failed")]
    Transport(#[source] reqwest::Error),
    #[error("the answer has the status {0}")]
    Status(StatusCode),
    #[error("the answer is longer than {ANSWER_BYTES_MAX} bytes")]
    TooLong,
    #[error(transparent)]
    Unusable(#[from] Unusable),
}

impl Provider {
    /// `None` where no provider is configured. Fetches nothing before [`Self::run`].
    ///
    /// # Errors
    /// When there is no HTTP client to be had.
    pub fn new(auth: &config::Auth) -> Result<Option<Arc<Self>>, Error> {
        let Some(url) = &auth.auth_jwks_url else {
            return Ok(None);
        };
        let client = http_client::builder(CONNECT_WITHIN)
            .build()
            .map_err(Error::Client)?;
        Ok(Some(Arc::new(Self {
            url: Url::parse(url).map_err(|_| Error::JwksUrl)?,
            client,
            checks: Checks::from(auth),
            refresh_every: auth.jwks_refresh(),
            known: ArcSwapOption::empty(),
            pace: Mutex::new(Pace::starting()),
            wanted: Notify::new(),
            ended: watch::channel(()).0,
        })))
    }

    /// Fetches the keys now, when a request needs others, and regularly, until the service stops.
    pub async fn run(self: Arc<Self>, tasks: Tasks) {
        loop {
            let fetched = tokio::select! {
                () = tasks.stopped() => return,
                fetched = self.fetch() => fetched,
            };
            let pause = self.note(fetched.and_then(|text| self.replace(text)));
            tokio::select! {
                () = tasks.stopped() => return,
                () = tokio::time::sleep(pause) => {}
                () = self.wanted.notified() => {}
            }
            self.begin();
        }
    }

    fn begin(&self) {
        let mut pace = self.pace.lock();
        pace.begin();
        // Where one was asked for just when the pause ended, the fetch that begins serves it.
        let _ = self.wanted.notified().now_or_never();
    }

    async fn fetch(&self) -> Result<Vec<u8>, Failure> {
        let answer = async {
            let call = self.client.get(self.url.clone());
            let call = call.header(header::ACCEPT, "application/json");
            let mut response = call.send().await.map_err(transport)?;
            if response.status() != StatusCode::OK {
                return Err(Failure::Status(response.status()));
            }
            let mut text = Vec::new();
            while let Some(part) = response.chunk().await.map_err(transport)? {
                if text.len() + part.len() > ANSWER_BYTES_MAX {
                    return Err(Failure::TooLong);
                }
                text.extend_from_slice(&part);
            }
            Ok(text)
        };
        let answered = timeout(FETCH_WITHIN, answer).await;
        answered.unwrap_or(Err(Failure::Timeout))
    }

    /// Uses the keys of an answer. One without a usable key replaces none: a provider signs with
    /// some key, so that this is a fault of it, which must not end a sale.
    fn replace(&self, text: Vec<u8>) -> Result<(), Failure> {
        let before = self.known.load();
        if before.as_ref().is_some_and(|before| before.text == text) {
            return Ok(());
        }
        let keys = jwks::read(&text, &self.checks)?;
        metrics::auth::keys(keys.len());
        let number = before.as_ref().map_or(1, |before| before.number + 1);
        self.known
            .store(Some(Arc::new(KeySet { number, text, keys })));
        Ok(())
    }

    /// Counts a fetch, logs the first failure and the first success after it, and tells those who
    /// wait; returns the pause before the next one.
    fn note(&self, fetched: Result<(), Failure>) -> Duration {
        let outcome = match fetched {
            Ok(()) => Fetch::Done,
            Err(_) => Fetch::Failed,
        };
        metrics::auth::fetched(outcome);
        let before = self.pace.lock().end(outcome);
        let had_failed = before == Some(Fetch::Failed);
        match fetched {
            Err(error) if !had_failed => {
                let first: &(dyn std::error::Error + 'static) = &error;
                let chain = std::iter::successors(Some(first), |error| error.source());
                let causes = in_one_line(chain);
                let keys = self.known.load().as_ref().map_or(0, |set| set.keys.len());
                tracing::warn!(
                    keys,
                    "AUTH_JWKS_URL: cannot fetch the identity provider's keys, {keys} are in use: {causes}"
                );
            }
            Ok(()) if had_failed => {
                tracing::info!("AUTH_JWKS_URL: the identity provider's keys are current again");
            }
            Err(_) | Ok(()) => {}
        }
        self.ended.send_replace(());
        match outcome {
            Fetch::Done => self.refresh_every,
            Fetch::Failed => RETRY_EVERY.min(self.refresh_every),
        }
    }

    /// The number of the keys in use; what was verified with other ones counts no more.
    pub(super) fn number(&self) -> u64 {
        self.known.load().as_ref().map_or(0, |set| set.number)
    }

    pub fn condition(&self) -> Condition {
        if self.known.load().is_none() {
            Condition::Missing
        } else if self.pace.lock().last() == Some(Fetch::Failed) {
            Condition::Outdated
        } else {
            Condition::Current
        }
    }

    /// The claims of a token of this provider, and the number of the keys that verified it.
    pub(super) fn claims(&self, token: &str, header: &Header) -> Result<(Claims, u64), Refused> {
        let known = self.known.load();
        let set = known.as_ref().ok_or(Refused::UnknownKey)?;
        let key = set.find(header).ok_or(Refused::UnknownKey)?;
        match key.verifier.claims(token) {
            Ok(claims) => Ok((claims, set.number)),
            // Without an id the signature alone tells that the key is another one.
            Err(error) if header.kid.is_none() && is_signature(error.kind()) => {
                Err(Refused::UnknownKey)
            }
            Err(_) => Err(Refused::INVALID),
        }
    }

    /// Asks for a fetch, without waiting for it; false where none is under way or may begin now.
    pub(super) fn ask(&self) -> bool {
        let mut pace = self.pace.lock();
        if pace.is_fetching() {
            return true;
        }
        let begins = pace.ask(Instant::now());
        if begins {
            self.wanted.notify_one();
        }
        begins
    }

    /// Asks for a fetch and waits until it has ended, for a bounded time.
    pub(super) async fn refreshed(&self, within: Duration) {
        // Before asking, so that no end is missed.
        let mut ended = self.ended.subscribe();
        if self.ask() {
            drop(timeout(within, ended.changed()).await);
        }
    }
}

impl KeySet {
    /// The key that the header names. Without an id only a key that is the only one of its kind:
    /// with more the header has to name it (`OpenID` Connect Core, section 10.1).
    fn find(&self, header: &Header) -> Option<&Key> {
        let fitting = |key: &&Key| key.verifier.accepts(header.alg);
        let mut keys = self.keys.iter().filter(fitting);
        match &header.kid {
            Some(id) => keys.find(|key| key.id.as_ref() == Some(id)),
            None => keys.next().filter(|_| keys.next().is_none()),
        }
    }
}

pub(super) fn is_signature(kind: &ErrorKind) -> bool {
    matches!(kind, ErrorKind::InvalidSignature)
}

/// Without the URL, which may hold more than an address.
fn transport(error: reqwest::Error) -> Failure {
    Failure::Transport(error.without_url())
}

#[cfg(test)]
mod tests {
    use jsonwebtoken::Algorithm;
    use rstest::rstest;

    use super::*;

    const ED: &str =
        r#"{"kty":"OKP","crv":"Ed25519","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo""#;

    /// With more than one key of its kind, a token has to name the one.
    #[rstest]
    #[case(&["a"], Some("a"), Some("a"))]
    #[case(&["a"], Some("b"), None)]
    #[case(&["a"], None, Some("a"))]
    #[case(&["a", "b"], Some("b"), Some("b"))]
    #[case(&["a", "b"], None, None)]
    fn a_key_is_found_by_its_id(
        #[case] ids: &[&str],
        #[case] kid: Option<&str>,
        #[case] found: Option<&str>,
    ) {
        let keys: Vec<_> = ids
            .iter()
            .map(|id| format!(r#"{ED},"kid":"{id}"}}"#))
            .collect();
        let text = format!(r#"{{"keys":[{}]}}"#, keys.join(","));
        let checks = Checks::from(&config::Auth::default());
        let keys = jwks::read(text.as_bytes(), &checks).unwrap();
        let (number, text) = (1, text.into_bytes());
        let set = KeySet { number, text, keys };
        let mut header = Header::new(Algorithm::EdDSA);
        header.kid = kid.map(str::to_owned);
        let key = set.find(&header).and_then(|key| key.id.as_deref());
        assert_eq!(key, found);
        // A key is not used with an algorithm of another kind.
        header.alg = Algorithm::ES256;
        assert!(set.find(&header).is_none());
    }
}
