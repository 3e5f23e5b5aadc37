//! From a planned request to its recorded answer, with the retries of a well-behaved client.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use axum::http::{HeaderValue, Request};
use bytes::Bytes;
use rand::RngExt;
use serde_json::json;
use uuid::Uuid;

use crate::{
    client::{Address, Body, Pool, request},
    record::{Answer, BadRequestResult, ExpectedOrder, Planned, Recorder, RequestKind, Sample},
    shop::Offer,
    tokens::{Crowd, User},
};

/// The longest `Retry-After` that a client obeys.
const RETRY_AFTER_MAX: u32 = 3;
/// The pause without `Retry-After`, and added to it, so that retries spread out.
const RETRY_JITTER_MS: u64 = 300;

/// Which node requests go to.
#[derive(Debug, Default)]
pub(crate) struct Route(Mutex<Option<usize>>);

impl Route {
    /// From now on to this node alone, or evenly over all of them.
    pub(crate) fn lead(&self, only: Option<usize>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = only;
    }

    /// A user stays with one node, as far as that is served at all.
    fn node(&self, user: u32) -> usize {
        let only = *self.0.lock().unwrap_or_else(PoisonError::into_inner);
        only.unwrap_or_else(|| usize::try_from(user).unwrap_or_default())
    }
}

/// What every request of a run needs.
#[derive(Debug)]
pub(crate) struct Load {
    pub(crate) run: String,
    pub(crate) crowd: Crowd,
    pub(crate) offers: Vec<Offer>,
    pub(crate) quantity: u32,
    pub(crate) retries: u32,
    /// False where the service under test knows neither users nor keys.
    pub(crate) is_full_service: bool,
    pub(crate) route: Route,
    pub(crate) recorder: Recorder,
    pub(crate) bad: Mutex<Vec<BadRequestResult>>,
}

/// A phase's connections beside it.
#[derive(Debug)]
pub(crate) struct Round {
    pub(crate) load: Arc<Load>,
    pub(crate) pool: Arc<Pool>,
}

impl Load {
    pub(crate) fn key(&self, number: u32) -> String {
        format!("{}-{number}", self.run)
    }

    pub(crate) fn take_bad_results(&self) -> Vec<BadRequestResult> {
        let mut bad = self.bad.lock().unwrap_or_else(PoisonError::into_inner);
        std::mem::take(&mut *bad)
    }

    pub(super) fn add_bad_result(&self, result: BadRequestResult) {
        let mut bad = self.bad.lock().unwrap_or_else(PoisonError::into_inner);
        bad.push(result);
    }
}

impl Round {
    pub(crate) fn new(load: &Arc<Load>, doors: &[Address], connections: usize) -> Self {
        Self {
            load: Arc::clone(load),
            pool: Arc::new(Pool::new(doors, connections)),
        }
    }

    /// Sends it, again and again if the answer invites a retry, and records every answer.
    pub(crate) async fn send(self: Arc<Self>, planned: Planned, mut intended: Instant) {
        for attempt in 0..=self.load.retries {
            let answer = self.send_once(planned, attempt, intended).await;
            if !answer.invites_retry() || attempt == self.load.retries {
                return;
            }
            let jitter = rand::rng().random_range(20..RETRY_JITTER_MS);
            let after = answer.retry_after.unwrap_or(0).min(RETRY_AFTER_MAX);
            let pause = Duration::from_secs(after.into()) + Duration::from_millis(jitter);
            tokio::time::sleep(pause).await;
            intended = Instant::now();
        }
    }

    async fn send_once(&self, planned: Planned, attempt: u32, intended: Instant) -> Answer {
        let load = &self.load;
        let user = load.crowd.buyer(planned.user);
        let node = load.route.node(planned.user) % self.pool.len().max(1);
        let Some((request, product)) = self.request(planned, user, node) else {
            return Answer::default();
        };
        let (sent, response) = self.pool.send(node, request).await;
        let expected = (planned.kind == RequestKind::Buy).then_some(ExpectedOrder {
            // The naive design has one buyer for all.
            user: if load.is_full_service {
                &user.name
            } else {
                "buyer"
            },
            product,
            quantity: load.quantity,
        });
        let answer = Answer::read(response.as_ref(), expected);
        load.recorder.push(Sample {
            planned,
            attempt,
            intended: load.recorder.at(intended),
            sent: load.recorder.at(sent),
            answered: load.recorder.at(Instant::now()),
            answer: answer.clone(),
        });
        answer
    }

    fn request(&self, planned: Planned, user: &User, node: usize) -> Option<(Request<Body>, Uuid)> {
        let load = &self.load;
        let offer = load.offers.get(planned.product)?;
        let host = &self.pool.address(node)?.host;
        let get = |path: &str| request(("GET", path), host, None, None);
        let request = match planned.kind {
            RequestKind::Buy => {
                let body = Some(&offer.order);
                let mut request = request(("POST", "/orders"), host, Some(&user.token), body);
                if let Ok(key) = HeaderValue::from_str(&load.key(planned.number)) {
                    request.headers_mut().insert("idempotency-key", key);
                }
                request
            }
            RequestKind::Look => get(&offer.look),
            RequestKind::Detail => get(&offer.detail),
            RequestKind::Browse => get("/products"),
            RequestKind::Live => get("/health/live"),
            RequestKind::Create => {
                let body = json!({
                    "sku": format!("{}-made-{}", load.run, planned.number),
                    "name": "Made while others buy", "price": 100, "currency": "EUR", "stock": 1,
                });
                let body = Bytes::from(body.to_string());
                request(
                    ("POST", "/products"),
                    host,
                    Some(&load.crowd.admin.token),
                    Some(&body),
                )
            }
            RequestKind::Bad => return None,
        };
        Some((request, offer.id))
    }
}
