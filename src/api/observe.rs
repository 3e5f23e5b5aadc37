//! Middleware around every request: request id, trace, unknown query parameters, time-out, metrics,
//! access log, log of internal errors, end of keep-alive while the service drains.

use std::{any::Any, panic::AssertUnwindSafe, sync::Arc, time::Instant};

use axum::{
    extract::{Request, State},
    http::{Extensions, HeaderMap, HeaderName, HeaderValue, header},
    middleware::Next,
    response::{IntoResponse, Response},
};
use futures::FutureExt;
use tower_http::cors::CorsLayer;
use utoipa::openapi::OpenApi;
use uuid::Uuid;

use self::record::Call;
use super::{SharedState, clients, cors, docs::QueryNames, files, problem::Problem};
use crate::{
    domain::TraceContext,
    metrics,
    telemetry::request::{self as current, Ids},
};

mod record;

pub(super) use self::record::Records;

/// When the request's head arrived; its time-out counts from then.
#[derive(Clone, Copy, Debug)]
pub(super) struct Began {
    at: Instant,
    /// The request's id, unless its caller sent one.
    id: Option<Uuid>,
    trace: TraceContext,
}

impl Began {
    /// The time that the middleware stored in the request, or now if it did not run.
    pub(super) fn of(request: &Request) -> Instant {
        let began = request.extensions().get::<Self>();
        began.map_or_else(Instant::now, |began| began.at)
    }

    /// The `X-Request-Id` of a request, for the audit trail.
    pub(super) fn request_id(headers: &HeaderMap, extensions: &Extensions) -> Option<String> {
        match extensions.get::<Self>()?.id {
            Some(made) => Some(made.to_string()),
            None => headers.get(REQUEST_ID)?.to_str().ok().map(str::to_owned),
        }
    }

    /// The request's span, for the audit trail.
    pub(super) fn trace(extensions: &Extensions) -> Option<TraceContext> {
        extensions.get::<Self>().map(|began| began.trace)
    }
}

const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");
/// The longest request id that is accepted from a caller, in bytes.
const REQUEST_ID_MAX: usize = 128;

/// What the middleware itself refuses or adds; clones share it.
#[derive(Clone, Debug, Default)]
pub(super) struct Outside {
    pub(super) queries: QueryNames,
    /// For the answers that are not made within the layer of CORS: else a page could not read them.
    pub(super) cors: Option<Arc<CorsLayer>>,
    pub(super) records: Records,
}

impl Outside {
    /// The page that sent the request, where pages may read answers.
    fn origin(&self, request: &Request) -> Option<HeaderValue> {
        self.cors.as_ref()?;
        request.headers().get(header::ORIGIN).cloned()
    }

    /// An answer of the middleware itself, as a page of this origin may read it.
    async fn readable(&self, origin: Option<HeaderValue>, answer: impl IntoResponse) -> Response {
        cors::readable(self.cors.as_deref(), origin, answer.into_response()).await
    }
}

pub(super) async fn observe(
    State((state, outside)): State<(SharedState, Outside)>,
    mut request: Request,
    next: Next,
) -> Response {
    let began = Instant::now();
    let in_flight = InFlight::begin();
    let sent = sent_id(&request).cloned();
    let made = sent.is_none().then(Uuid::now_v7);
    let caller = sent_trace(request.headers());
    let trace = outside.records.tracer.enter(caller, began);
    let ids = Ids {
        request: sent.unwrap_or_else(|| made_id(made.unwrap_or_default())),
        trace,
    };
    let stored = Began {
        at: began,
        id: made,
        trace,
    };
    request.extensions_mut().insert(stored);
    let is_page = files::is_page(request.headers());
    let call = Call::new(&request, &outside.records, began, caller);
    let answered = async {
        let open = call.begin(&outside.records);
        let response = answer(&state, &outside, request, next).await;
        open.answered(&response);
        response
    };
    let (mut response, ids) = current::serve(ids, answered).await;
    let headers = response.headers_mut();
    if let Some(ids) = ids {
        headers.insert(REQUEST_ID, ids.request);
    }
    if is_page {
        files::guard(headers);
    }
    if state.tasks.are_draining() {
        // A client that kept the connection would lose the request that it sends as the service
        // stops.
        headers.insert(header::CONNECTION, HeaderValue::from_static("close"));
    }
    drop(in_flight);
    response
}

async fn answer(state: &SharedState, outside: &Outside, request: Request, next: Next) -> Response {
    let origin = outside.origin(&request);
    match outside.queries.check(&request) {
        Ok(()) => {
            let answer = AssertUnwindSafe(next.run(request)).catch_unwind();
            match tokio::time::timeout(state.request_timeout, answer).await {
                Ok(Ok(response)) => response,
                Ok(Err(panic)) => outside.readable(origin, panicked(&*panic)).await,
                Err(_) => outside.readable(origin, Problem::NotInTime).await,
            }
        }
        // Such a request counts for its address too.
        Err(problem) => match state.clients.admit(&request) {
            Ok(()) => outside.readable(origin, problem).await,
            Err(refusal) => outside.readable(origin, clients::refused(refusal)).await,
        },
    }
}

/// The answer to a request whose handler panicked, which is a bug.
fn panicked(panic: &(dyn Any + Send)) -> Problem {
    let cause = panic
        .downcast_ref::<String>()
        .map(String::as_str)
        .or_else(|| panic.downcast_ref::<&str>().copied())
        .unwrap_or("unknown");
    Problem::Internal {
        cause: format!("panic: {cause}"),
    }
}

/// The caller's `x-request-id` if it is valid.
fn sent_id(request: &Request) -> Option<&HeaderValue> {
    let is_valid = |value: &&HeaderValue| {
        (1..=REQUEST_ID_MAX).contains(&value.len())
            && value.as_bytes().iter().all(u8::is_ascii_graphic)
    };
    request.headers().get(REQUEST_ID).filter(is_valid)
}

/// The caller's `traceparent` if it is valid; one that is sent twice is not.
fn sent_trace(headers: &HeaderMap) -> Option<TraceContext> {
    let mut values = headers.get_all(TRACEPARENT).iter();
    let value = values.next()?;
    match values.next() {
        None => TraceContext::parse(value.as_bytes()),
        Some(_) => None,
    }
}

fn made_id(id: Uuid) -> HeaderValue {
    HeaderValue::from_str(&id.to_string()).unwrap_or_else(|_| HeaderValue::from_static("unknown"))
}

/// Starts the metrics of every answer that the document names. Not of every status of every route:
/// most pairs never occur, and each costs Prometheus memory.
pub(super) fn expect(document: &OpenApi) {
    for (path, item) in &document.paths.paths {
        let operations = [
            ("GET", &item.get),
            ("POST", &item.post),
            ("PATCH", &item.patch),
            ("DELETE", &item.delete),
        ];
        for (method, operation) in operations {
            let responses = operation
                .iter()
                .flat_map(|it| it.responses.responses.keys());
            for status in responses.filter_map(|status| status.parse().ok()) {
                metrics::http::expected(method, path, status);
            }
        }
    }
}

/// The same for the operators' listener, which has no document.
pub(super) fn expect_probes() {
    for route in ["/metrics", "/health", "/health/live", "/health/ready"] {
        metrics::http::expected("GET", route, 200);
    }
}

/// Counts a request until it is answered, or dropped because its caller disconnected.
struct InFlight;

impl InFlight {
    fn begin() -> Self {
        metrics::http::in_flight().increment(1);
        Self
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        metrics::http::in_flight().decrement(1);
    }
}
