//! Around every request: its id, its time limit, its place in the metrics, the log of its failure.

use std::{any::Any, panic::AssertUnwindSafe, time::Instant};

use axum::{
    extract::{MatchedPath, Request, State},
    http::{HeaderName, HeaderValue, Method},
    middleware::Next,
    response::{IntoResponse, Response},
};
use futures::FutureExt;
use uuid::Uuid;

use super::{
    SharedState,
    problem::{Cause, Problem},
};
use crate::metrics;

/// When the request's head had arrived; its time runs from there.
#[derive(Clone, Copy, Debug)]
pub(super) struct Began(pub(super) Instant);

impl Began {
    /// Of a request that passed here, and now of any other.
    pub(super) fn of(request: &Request) -> Instant {
        let began = request.extensions().get::<Self>();
        began.map_or_else(Instant::now, |began| began.0)
    }
}

const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
/// A caller's own id is kept up to this length.
const REQUEST_ID_MAX: usize = 128;

pub(super) async fn observe(
    State(state): State<SharedState>,
    mut request: Request,
    next: Next,
) -> Response {
    let began = Instant::now();
    let in_flight = InFlight::begin();
    let method = known_method(request.method());
    let route = request.extensions().get::<MatchedPath>().cloned();
    let id = request_id(&request);
    request.extensions_mut().insert(Began(began));
    let answer = AssertUnwindSafe(next.run(request)).catch_unwind();
    let mut response = match tokio::time::timeout(state.request_timeout, answer).await {
        Ok(Ok(response)) => response,
        Ok(Err(panic)) => panicked(&*panic),
        Err(_) => Problem::NotInTime.into_response(),
    };
    if let Some(Cause(cause)) = response.extensions().get() {
        let request = id.to_str().unwrap_or_default();
        tracing::error!(request, cause, "request {request} failed: {cause}");
    }
    let route = route.as_ref().map_or("unmatched", MatchedPath::as_str);
    metrics::http::answered(method, route, response.status().as_u16(), began.elapsed());
    response.headers_mut().insert(REQUEST_ID, id);
    drop(in_flight);
    response
}

/// The answer to a request whose handler panicked: a bug.
fn panicked(panic: &(dyn Any + Send)) -> Response {
    let cause = panic
        .downcast_ref::<String>()
        .map(String::as_str)
        .or_else(|| panic.downcast_ref::<&str>().copied())
        .unwrap_or("unknown");
    Problem::Internal {
        cause: format!("panic: {cause}"),
    }
    .into_response()
}

/// The caller's id if it is usable, else a new one.
fn request_id(request: &Request) -> HeaderValue {
    let usable = |value: &&HeaderValue| {
        (1..=REQUEST_ID_MAX).contains(&value.len())
            && value.as_bytes().iter().all(u8::is_ascii_graphic)
    };
    match request.headers().get(REQUEST_ID).filter(usable) {
        Some(id) => id.clone(),
        None => HeaderValue::from_str(&Uuid::now_v7().to_string())
            .unwrap_or_else(|_| HeaderValue::from_static("unknown")),
    }
}

/// The methods of the API as labels; whatever else a caller makes up is one label.
fn known_method(method: &Method) -> &'static str {
    match method.as_str() {
        "GET" => "GET",
        "HEAD" => "HEAD",
        "POST" => "POST",
        "PATCH" => "PATCH",
        "DELETE" => "DELETE",
        "OPTIONS" => "OPTIONS",
        _ => "other",
    }
}

/// Counts a request for as long as it is answered, also when its caller goes away.
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
