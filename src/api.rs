//! HTTP router: the URL tree and its layers. A handler validates, admits, submits and responds.

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
    admission::Gate, cache::Cache, checkout::Checkout, domain::Secret, lock::Lock,
    sequencer::Sequencer, stock_events::StockEvents, store::Store, tasks::Tasks,
    user_events::UserEvents,
};

mod audit;
pub mod auth;
mod docs;
mod extract;
mod guests;
mod health;
mod json_document;
mod me;
mod observe;
mod orders;
mod problem;
mod products;
pub mod serve;
mod stock;
mod waitlist;

/// The services that handlers use.
#[derive(Debug)]
pub struct AppState {
    pub store: Store,
    pub sequencer: Sequencer,
    pub checkout: Checkout,
    pub gate: Gate,
    pub cache: Cache,
    pub keys: auth::Keys,
    pub stock_events: StockEvents,
    pub user_events: UserEvents,
    pub lock: Lock,
    pub tasks: Tasks,
    pub request_timeout: Duration,
    /// Signs guests' tokens; only with `--demo`.
    pub guests: Option<Secret>,
}

pub type SharedState = Arc<AppState>;

/// The API, for the public listener.
pub fn router(state: &SharedState, cors_origins: &[String]) -> Router {
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
        .routes(routes!(audit::list))
        .routes(routes!(me::events))
        .routes(routes!(waitlist::get, waitlist::leave))
        .routes(routes!(health::health))
        .routes(routes!(health::live))
        .routes(routes!(health::ready));
    if state.guests.is_some() {
        api = api.routes(routes!(guests::create));
    }
    let (router, document) = api.split_for_parts();
    let router = router.merge(docs::pages(document));
    let cors = (!cors_origins.is_empty()).then(|| cors(cors_origins));
    layered(router, state, cors)
}

/// Metrics and health, for the operators' listener.
pub fn ops_router(state: &SharedState, recorder: PrometheusHandle) -> Router {
    let render = move || async move { recorder.render() };
    let router = Router::new()
        .route("/metrics", axum::routing::get(render))
        .route("/health", axum::routing::get(health::health));
    layered(router, state, None)
}

/// Adds the common layers: problem documents for unknown paths and methods, and `observe` (time
/// limit, request id, metrics).
fn layered(router: Router<SharedState>, state: &SharedState, cors: Option<CorsLayer>) -> Router {
    let mut router = router
        .fallback(async || problem::Problem::NotFound)
        .method_not_allowed_fallback(async || problem::Problem::MethodNotAllowed);
    // Each layer costs every request two allocations, so an unused one is left out.
    if let Some(cors) = cors {
        router = router.layer(cors);
    }
    router
        .layer(middleware::from_fn_with_state(
            Arc::clone(state),
            observe::observe,
        ))
        .with_state(Arc::clone(state))
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
