//! HTTP router: the URL tree and its layers. A handler validates, admits, submits and responds.

use std::{sync::Arc, time::Duration};

use axum::{Router, middleware};
use utoipa_axum::{router::OpenApiRouter, routes};

pub use self::monitor::Operations;
use self::{
    docs::QueryNames,
    observe::{Outside, Records},
};
use crate::{
    admission::{Gate, Streams},
    cache::Cache,
    checkout::Checkout,
    domain::Secret,
    lock::Lock,
    sequencer::Sequencer,
    stock_events::StockEvents,
    store::Store,
    tasks::Tasks,
    telemetry::{sample::Sample, traces::Tracer},
    user_events::UserEvents,
};

mod audit;
pub mod auth;
pub mod clients;
mod cors;
mod docs;
mod event_stream;
mod extract;
mod files;
#[doc(hidden)]
pub mod fuzzing;
mod guests;
mod health;
mod json_document;
pub mod me;
mod monitor;
mod observe;
mod orders;
mod problem;
mod products;
mod scrape;
pub mod serve;
mod stock;
mod storefront;
mod waitlist;
mod webhooks;
mod whole;

/// The services that handlers use.
#[derive(Debug)]
pub struct AppState {
    pub store: Store,
    pub sequencer: Sequencer,
    pub checkout: Checkout,
    pub gate: Gate,
    pub cache: Cache,
    pub keys: auth::Keys,
    pub clients: clients::Clients,
    pub streams: Streams,
    pub tickets: auth::tickets::Tickets,
    pub feeds: me::feed::Feeds,
    pub stock_events: StockEvents,
    pub user_events: UserEvents,
    pub lock: Lock,
    pub tasks: Tasks,
    pub request_timeout: Duration,
    pub tracer: Tracer,
    /// The share of the answers that the access log shows.
    pub access_log: Sample,
    /// Verifies Stripe's events; `None` where the webhook does not exist.
    pub stripe_webhook_secret: Option<Secret>,
    /// Signs guests' tokens; only with `--demo`.
    pub guests: Option<auth::sign::Signer>,
}

pub type SharedState = Arc<AppState>;

/// The API, for the public listener.
pub fn router(state: &SharedState, cors_origins: &[String]) -> Router {
    let mut api = OpenApiRouter::with_openapi(docs::document())
        .routes(routes!(orders::place, orders::list))
        .routes(routes!(orders::get))
        .routes(routes!(orders::cancel::cancel))
        .routes(routes!(orders::resolve::resolve))
        .routes(routes!(orders::confirm::confirm))
        .routes(routes!(webhooks::stripe))
        .routes(routes!(products::create, products::list))
        .routes(routes!(products::get, products::patch, products::archive))
        .routes(routes!(products::restock))
        .routes(routes!(stock::availability))
        .routes(routes!(stock::events))
        .routes(routes!(audit::list))
        .routes(routes!(me::events))
        .routes(routes!(me::ticket))
        .routes(routes!(waitlist::get, waitlist::leave))
        .routes(routes!(health::health))
        .routes(routes!(health::live))
        .routes(routes!(health::ready));
    if state.guests.is_some() {
        api = api.routes(routes!(guests::create));
        api = api.routes(routes!(guests::authenticate));
    }
    let (router, document) = api.split_for_parts();
    let document = docs::complete(document);
    observe::expect(&document);
    let queries = QueryNames::of(&document);
    let mut router = router.merge(docs::pages(&document));
    if state.guests.is_some() {
        router = router.merge(storefront::pages());
    }
    let mut router = with_fallbacks(router);
    // Each layer costs every request two allocations, so an unused one is left out.
    if state.clients.are_limited() {
        let limit = middleware::from_fn_with_state(Arc::clone(state), clients::limit);
        router = router.layer(limit);
    }
    let cors = cors::layer(cors_origins);
    if let Some(cors) = cors.clone() {
        router = router.layer(cors);
    }
    let cors = cors.map(Arc::new);
    let records = Records {
        tracer: state.tracer.clone(),
        access_log: state.access_log,
    };
    let outside = Outside {
        queries,
        cors,
        records,
    };
    observed(router, state, outside)
}

/// The live monitor, metrics, health and probes, for the operators' listener.
pub fn ops_router(state: &SharedState, operations: Operations) -> Router {
    observe::expect_probes();
    let router = monitor::pages(state, operations)
        .route("/health", axum::routing::get(health::health))
        .route("/health/live", axum::routing::get(health::live))
        .route("/health/ready", axum::routing::get(health::ready));
    observed(with_fallbacks(router), state, Outside::default())
}

/// Adds problem documents for unknown paths and methods.
fn with_fallbacks(router: Router<SharedState>) -> Router<SharedState> {
    router
        .fallback(async || problem::Problem::NotFound)
        .method_not_allowed_fallback(async || problem::Problem::MethodNotAllowed)
}

/// Adds the outermost layer, `observe`: query parameters, time limit, request id, trace, metrics,
/// access log.
fn observed(router: Router<SharedState>, state: &SharedState, outside: Outside) -> Router {
    router
        .layer(middleware::from_fn_with_state(
            (Arc::clone(state), outside),
            observe::observe,
        ))
        .with_state(Arc::clone(state))
}
