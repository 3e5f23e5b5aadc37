//! Cross-origin resource sharing: the origins whose pages may call the API.

use std::{convert::Infallible, time::Duration};

use axum::{
    body::Body,
    extract::Request,
    http::{HeaderName, HeaderValue, Method, header, request::Parts},
    response::Response,
};
use tower::{Layer, ServiceExt, service_fn};
use tower_http::cors::{AllowOrigin, CorsLayer};

use crate::config::Origin;

/// How long a browser may reuse the answer to a preflight request; browsers cap it at two hours.
const MAX_AGE: Duration = Duration::from_hours(2);

/// The layer for these origins; none without an origin.
pub(super) fn layer(origins: &[String]) -> Option<CorsLayer> {
    if origins.is_empty() {
        return None;
    }
    let allowed: Vec<Origin> = origins
        .iter()
        .filter_map(|text| Origin::parse(text))
        .collect();
    let is_allowed = move |sent: &HeaderValue, _request: &Parts| {
        let sent = sent.to_str().unwrap_or_default();
        allowed.iter().any(|origin| origin.allows(sent))
    };
    let layer = CorsLayer::new()
        .allow_origin(AllowOrigin::predicate(is_allowed))
        .allow_methods([Method::GET, Method::POST, Method::PATCH, Method::DELETE])
        .allow_headers([
            header::AUTHORIZATION,
            header::CONTENT_TYPE,
            HeaderName::from_static("idempotency-key"),
            HeaderName::from_static("x-request-id"),
            HeaderName::from_static("traceparent"),
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
        .max_age(MAX_AGE);
    Some(layer)
}

/// Adds the headers of the layer to a response that was made outside of it, for a request from this
/// origin.
pub(super) async fn readable(
    layer: Option<&CorsLayer>,
    origin: Option<HeaderValue>,
    response: Response,
) -> Response {
    let (Some(layer), Some(origin)) = (layer, origin) else {
        return response;
    };
    let mut request = Request::new(Body::empty());
    request.headers_mut().insert(header::ORIGIN, origin);
    let mut made = Some(response);
    let answer = service_fn(move |_: Request| {
        let made = made.take().unwrap_or_default();
        std::future::ready(Ok::<_, Infallible>(made))
    });
    let Ok(response) = layer.layer(answer).oneshot(request).await;
    response
}
