//! JSON response from cached bytes, because rendering a product again for every response would
//! cost more than the rest of the response.

use axum::{
    http::{HeaderValue, header},
    response::{IntoResponse, Response},
};
use bytes::Bytes;
use serde::Serialize;

#[derive(Debug)]
pub(super) struct JsonDocument(pub(super) Bytes);

impl IntoResponse for JsonDocument {
    fn into_response(self) -> Response {
        let kind = HeaderValue::from_static("application/json");
        ([(header::CONTENT_TYPE, kind)], self.0).into_response()
    }
}

/// Renders a value whose serialization cannot fail.
pub(super) fn json<T: Serialize>(value: &T) -> Bytes {
    serde_json::to_vec(value).unwrap_or_default().into()
}
