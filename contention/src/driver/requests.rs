//! Sends planned requests, retries like a well-behaved client, and records every answer.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use axum::http::{HeaderValue, Request};
use bytes::Bytes;
use parking_lot::Mutex;
use rand::RngExt;
use serde_json::json;
use uuid::Uuid;

use crate::{
    client::{Address, Body, Pool, request},
    exporter::Meter,
    record::{Answer, BadRequestResult, ExpectedOrder, Planned, Recorder, RequestKind, Sample},
    shop::Offer,
    tokens::{User, Users},
};

/// Seconds of `Retry-After` that a client waits at most.
const RETRY_AFTER_MAX: u32 = 3;
/// Upper bound of the random pause, added to `Retry-After`, so that retries spread out.
const RETRY_JITTER_MS: u64 = 300;

/// The node that requests are sent to.
#[derive(Debug, Default)]
pub(crate) struct Route(Mutex<Option<usize>>);

impl Route {
    /// Sends all later requests to this node, or spreads them over all nodes.
    pub(crate) fn set(&self, only: Option<usize>) {
        *self.0.lock() = only;
    }

    /// A user always has the same node while all nodes are used.
    fn node(&self, user: u32) -> usize {
        let only = *self.0.lock();
        only.unwrap_or_else(|| usize::try_from(user).unwrap_or_default())
    }
}

/// What every request of a run needs.
#[derive(Debug)]
pub(crate) struct Load {
    pub(crate) run: String,
    pub(crate) users: Users,
    pub(crate) offers: Vec<Offer>,
    pub(crate) quantity: u32,
    pub(crate) retries: u32,
    /// False for the naive design, which has neither users nor keys.
    pub(crate) is_full_service: bool,
    pub(crate) route: Route,
    pub(crate) recorder: Recorder,
    pub(crate) meter: Meter,
    pub(crate) bad: Mutex<Vec<BadRequestResult>>,
}

/// The load with the connections of a phase.
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
        std::mem::take(&mut *self.bad.lock())
    }

    pub(super) fn add_bad_result(&self, result: BadRequestResult) {
        self.bad.lock().push(result);
    }
}

impl Round {
    pub(crate) fn new(load: &Arc<Load>, nodes: &[Address], connections: usize) -> Self {
        Self {
            load: Arc::clone(load),
            pool: Arc::new(Pool::new(nodes, connections)),
        }
    }

    /// Sends a request, retries while the answers invite it, and records every answer.
    pub(crate) async fn send(self: Arc<Self>, planned: Planned, mut intended: Instant) {
        for attempt in 0..=self.load.retries {
            let Some(answer) = self.send_once(planned, attempt, intended).await else {
                return;
            };
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

    /// `None` for a request without a product, which is not sent.
    async fn send_once(&self, planned: Planned, attempt: u32, intended: Instant) -> Option<Answer> {
        let load = &self.load;
        let user = load.users.buyer(planned.user);
        let node = load.route.node(planned.user) % self.pool.len().max(1);
        let (request, product) = self.request(planned, user, node)?;
        load.meter.sent(planned.kind);
        let (sent, response) = self.pool.send(node, request).await;
        let expected = (planned.kind == RequestKind::Buy).then_some(ExpectedOrder {
            // The naive design has a single buyer.
            user: if load.is_full_service {
                &user.name
            } else {
                "buyer"
            },
            product,
            quantity: load.quantity,
        });
        let answer = Answer::read(response.as_ref(), expected);
        let sample = Sample {
            planned,
            attempt,
            node,
            intended: load.recorder.at(intended),
            sent: load.recorder.at(sent),
            answered: load.recorder.at(Instant::now()),
            answer: answer.clone(),
        };
        load.meter.answered(&sample);
        load.recorder.push(sample);
        Some(answer)
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
                    "name": "Created during the load", "price": 100, "currency": "EUR", "stock": 1,
                });
                let body = Bytes::from(body.to_string());
                request(
                    ("POST", "/products"),
                    host,
                    Some(&load.users.admin.token),
                    Some(&body),
                )
            }
            RequestKind::Bad => return None,
        };
        Some((request, offer.id))
    }
}
