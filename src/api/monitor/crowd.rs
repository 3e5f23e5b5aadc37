//! The demo's crowd: built-in guests who all want one product, so that one person sees contention.
//!
//! The guests' requests go through the whole API, with tokens of guests, as any browser's would; only
//! the network is left out. One crowd at a time, and it ends by itself.

use std::{
    sync::{Arc, atomic::Ordering},
    time::{Duration, Instant},
};

use axum::{
    Router,
    body::Body,
    extract::{Request, State},
    http::{HeaderMap, Method, StatusCode, header},
    response::{IntoResponse, Response},
};
use futures::future::join_all;
use http_body_util::BodyExt;
use hyper::service::Service;
use hyper_util::service::TowerToHyperService;
use rand::random;
use serde::Deserialize;
use serde_json::{Value, json};
use uuid::Uuid;

use crate::{
    api::{
        SharedState,
        auth::{Role, sign::Signer},
        extract,
        problem::Problem,
    },
    domain::{ProductId, jitter},
    monitor::{Crowd, Monitor},
    tasks::Tasks,
};

/// Buyers at once.
const BUYERS: u64 = 200;
/// A buyer who got a unit comes back as another guest until this time is over.
const LASTS: Duration = Duration::from_secs(10);
/// The mean pause before a buyer comes back.
const PAUSE: Duration = Duration::from_millis(300);
/// Guests' tokens outlive the crowd.
const TOKEN_TTL: Duration = Duration::from_mins(5);
/// An answer of the API is smaller.
const ANSWER_MAX: usize = 64 * 1024;

/// Starts crowds.
pub(super) struct Crowds {
    signer: Signer,
    api: TowerToHyperService<Router>,
    monitor: Monitor,
    /// On the runtime of the requests, as the requests of browsers.
    tasks: Tasks,
    /// Only the page of this process knows it, so that no other page can start a crowd.
    token: String,
}

/// The body of the call.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Wanted {
    product_id: ProductId,
}

impl Crowds {
    pub(super) fn new(signer: Signer, api: Router, monitor: Monitor, tasks: Tasks) -> Self {
        Self {
            tasks,
            signer,
            api: TowerToHyperService::new(api),
            monitor,
            token: format!("{:032x}", random::<u128>()),
        }
    }

    pub(super) fn token(&self) -> &str {
        &self.token
    }

    /// Whether the page of this process sent the request.
    fn is_from_page(&self, headers: &HeaderMap) -> bool {
        let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
        let host = text("host").unwrap_or_default();
        let origin = text("origin").and_then(|origin| origin.split_once("://"));
        text("x-crowd-token") == Some(&self.token)
            && origin.is_some_and(|(_, from)| !host.is_empty() && from == host)
    }
}

/// `POST /monitor/crowd`: 202 when the crowd has begun, 409 while another one is running.
pub(super) async fn send(
    crowds: Arc<Crowds>,
    State(state): State<SharedState>,
    request: Request,
) -> Response {
    match begin(crowds, state, request).await {
        Ok(response) => response,
        Err(problem) => problem.into_response(),
    }
}

async fn begin(
    crowds: Arc<Crowds>,
    state: SharedState,
    request: Request,
) -> Result<Response, Problem> {
    if !crowds.is_from_page(request.headers()) {
        return Err(Problem::Forbidden);
    }
    let (parts, body) = request.into_parts();
    let body = extract::bytes(&state, &parts.headers, body, extract::BODY_MAX).await?;
    let wanted: Result<Wanted, _> = serde_json::from_slice(&body);
    let Wanted { product_id } = wanted.map_err(|error| Problem::MalformedJson {
        detail: error.to_string(),
    })?;
    state.cache.product(product_id).await?;
    let Some(running) = crowds.monitor.begin_crowd(product_id, BUYERS) else {
        return Ok(StatusCode::CONFLICT.into_response());
    };
    let tasks = crowds.tasks.clone();
    tasks.spawn("crowd", async move {
        let until = Instant::now() + LASTS;
        let buyers = (0..BUYERS).map(|_| buyer(&crowds, &running.0, product_id, until));
        join_all(buyers).await;
    });
    Ok(StatusCode::ACCEPTED.into_response())
}

/// One buyer, who leaves when the product is sold out or the time is over.
async fn buyer(crowds: &Crowds, crowd: &Crowd, product: ProductId, until: Instant) {
    loop {
        let (counter, leaves) = match buy(crowds, product).await {
            Some(201) => (&crowd.bought, false),
            Some(202) => (&crowd.waitlisted, true),
            // Full for a moment; a buyer tries again.
            Some(400) => (&crowd.refused, false),
            Some(_) | None => (&crowd.refused, true),
        };
        counter.fetch_add(1, Ordering::Relaxed);
        let is_over = leaves || Instant::now() >= until;
        if is_over || !crowds.tasks.pause(jitter(PAUSE)).await {
            return;
        }
    }
}

/// Orders one unit as a new guest, or a place on the waitlist, and pays if that is asked for. The
/// status of the order's answer; `None` when there is none.
async fn buy(crowds: &Crowds, product: ProductId) -> Option<u16> {
    let user = format!("guest-{}", Uuid::now_v7());
    let token = crowds.signer.sign(&user, Role::Buyer, TOKEN_TTL).ok()?;
    let order = json!({ "product_id": product, "quantity": 1, "waitlist": true });
    let (status, answer) = post(crowds, "/orders", &token, &order).await?;
    if answer.get("status").and_then(Value::as_str) == Some("pending") {
        let id = answer.get("id").and_then(Value::as_str)?;
        let card = json!({ "payment_method": "pm_card_visa" });
        post(crowds, &format!("/orders/{id}/confirm"), &token, &card).await?;
    }
    Some(status)
}

async fn post(crowds: &Crowds, path: &str, token: &str, body: &Value) -> Option<(u16, Value)> {
    let request = Request::builder()
        .method(Method::POST)
        .uri(path)
        .header(header::AUTHORIZATION, format!("Bearer {token}"))
        .header(header::CONTENT_TYPE, "application/json")
        .body(Body::from(body.to_string()))
        .ok()?;
    let response = crowds.api.call(request).await.ok()?;
    let status = response.status().as_u16();
    let body = http_body_util::Limited::new(response.into_body(), ANSWER_MAX);
    let body = body.collect().await.ok()?.to_bytes();
    Some((status, serde_json::from_slice(&body).unwrap_or_default()))
}
