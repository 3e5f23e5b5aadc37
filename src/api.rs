//! HTTP: the URL tree and its layers. A handler is a table of contents: read, admit, submit, answer.

use std::{sync::Arc, time::Duration};

use axum::{
    Router,
    http::{HeaderName, HeaderValue, Method, header},
    middleware,
};
use metrics_exporter_prometheus::PrometheusHandle;
use tower_http::cors::CorsLayer;
use utoipa_axum::{router::OpenApiRouter, routes};

use crate::{
    admission::Gate, cache::Cache, checkout::Checkout, domain::Secret, events::Events, lock::Lock,
    news::News, sequencer::Sequencer, store::Store, tasks::Tasks,
};

pub mod auth;
mod docs;
mod document;
mod extract;
mod guests;
mod health;
mod me;
mod observe;
mod orders;
mod problem;
mod products;
pub mod serve;
mod stock;
mod waitlist;

/// What handlers work with.
#[derive(Debug)]
pub struct Parts {
    pub store: Store,
    pub sequencer: Sequencer,
    pub checkout: Checkout,
    pub gate: Gate,
    pub cache: Cache,
    pub keys: auth::Keys,
    pub events: Events,
    pub news: News,
    pub lock: Lock,
    pub tasks: Tasks,
    pub request_timeout: Duration,
    /// Signs guests' tokens; only with `--demo`.
    pub guests: Option<Secret>,
}

pub type Shared = Arc<Parts>;

/// The API, for the public listener.
pub fn router(shared: &Shared, cors_origins: &[String]) -> Router {
    let mut api = OpenApiRouter::with_openapi(docs::document())
        .routes(routes!(orders::place, orders::list))
        .routes(routes!(orders::get))
        .routes(routes!(orders::cancel::cancel))
        .routes(routes!(orders::confirm::confirm))
        .routes(routes!(products::create, products::list))
        .routes(routes!(products::get, products::patch))
        .routes(routes!(products::restock))
        .routes(routes!(stock::availability))
        .routes(routes!(stock::events))
        .routes(routes!(me::events))
        .routes(routes!(waitlist::get, waitlist::leave))
        .routes(routes!(health::health))
        .routes(routes!(health::live))
        .routes(routes!(health::ready));
    if shared.guests.is_some() {
        api = api.routes(routes!(guests::create));
    }
    let (router, document) = api.split_for_parts();
    let router = router.merge(docs::pages(document));
    let cors = (!cors_origins.is_empty()).then(|| cors(cors_origins));
    layered(router, shared, cors)
}

/// Metrics and health, for the operators' listener.
pub fn ops_router(shared: &Shared, recorder: PrometheusHandle) -> Router {
    let render = move || async move { recorder.render() };
    let router = Router::new()
        .route("/metrics", axum::routing::get(render))
        .route("/health", axum::routing::get(health::health));
    layered(router, shared, None)
}

/// What every answer has: a problem document instead of an empty error, a time limit, a request
/// id, and its place in the metrics.
fn layered(router: Router<Shared>, shared: &Shared, cors: Option<CorsLayer>) -> Router {
    let mut router = router
        .fallback(async || problem::Problem::NotFound)
        .method_not_allowed_fallback(async || problem::Problem::MethodNotAllowed);
    // Each layer costs every request two allocations, so one that does nothing is left out.
    if let Some(cors) = cors {
        router = router.layer(cors);
    }
    let state = Arc::clone(shared);
    router
        .layer(middleware::from_fn_with_state(state, observe::observe))
        .with_state(Arc::clone(shared))
}

fn cors(origins: &[String]) -> CorsLayer {
    let origins: Vec<HeaderValue> = origins
        .iter()
        .filter_map(|origin| origin.parse().ok())
        .collect();
    CorsLayer::new()
        .allow_origin(origins)
        .allow_methods([Method::GET, Method::POST, Method::PATCH, Method::DELETE])
        .allow_headers([
            header::AUTHORIZATION,
            header::CONTENT_TYPE,
            HeaderName::from_static("idempotency-key"),
            HeaderName::from_static("x-request-id"),
        ])
        .expose_headers([
            header::LOCATION,
            header::RETRY_AFTER,
            HeaderName::from_static("idempotency-replayed"),
            HeaderName::from_static("ratelimit-limit"),
            HeaderName::from_static("ratelimit-remaining"),
            HeaderName::from_static("ratelimit-reset"),
            HeaderName::from_static("x-request-id"),
        ])
}
