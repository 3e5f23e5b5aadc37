//! The files of pages, which are in the binary: the demo storefront's and the live monitor's.
//!
//! The content security policy allows no script, style or call but the page's own: a product's name
//! that got into a page as markup could do nothing.

use axum::{
    http::{HeaderMap, HeaderName, HeaderValue, header},
    response::{IntoResponse, Response},
};

use super::problem::Problem;

const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; \
    connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

/// That of answers that are no page.
const NO_PAGE: HeaderValue =
    HeaderValue::from_static("default-src 'none'; base-uri 'none'; frame-ancestors 'none'");
const NO_SNIFF: HeaderValue = HeaderValue::from_static("nosniff");

pub(super) const HTML: &str = "text/html; charset=utf-8";
pub(super) const SCRIPT: &str = "text/javascript; charset=utf-8";
pub(super) const STYLE: &str = "text/css; charset=utf-8";
pub(super) const TEXT: &str = "text/plain; charset=utf-8";
pub(super) const IMAGE: &str = "image/svg+xml";

pub(super) struct File {
    pub(super) name: &'static str,
    pub(super) media_type: &'static str,
    pub(super) text: &'static str,
}

/// The file of this name.
pub(super) fn find(files: &'static [File], name: &str) -> Result<Response, Problem> {
    let file = files.iter().find(|file| file.name == name);
    let file = file.ok_or(Problem::NotFound)?;
    Ok(respond(file.media_type, file.text))
}

pub(super) fn respond(media_type: &'static str, body: impl IntoResponse) -> Response {
    let headers: [(HeaderName, &str); 2] = [
        (header::REFERRER_POLICY, "no-referrer"),
        // After an upgrade, old scripts with a new page would not work.
        (header::CACHE_CONTROL, "no-cache"),
    ];
    (headers, respond_under(POLICY, media_type, body)).into_response()
}

/// A file under this content security policy.
pub(super) fn respond_under(
    policy: &'static str,
    media_type: &str,
    body: impl IntoResponse,
) -> Response {
    let headers: [(HeaderName, &str); 3] = [
        (header::CONTENT_TYPE, media_type),
        (header::CONTENT_SECURITY_POLICY, policy),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    ];
    (headers, body).into_response()
}

/// Whether a browser asks for a page: it then shows whatever it gets, also a problem.
pub(super) fn is_page(headers: &HeaderMap) -> bool {
    let accept = headers.get(header::ACCEPT);
    accept.is_some_and(|accept| accept.as_bytes().starts_with(b"text/html"))
}

/// Forbids everything to an answer that is shown like a page and has no policy of its own. Callers
/// of the API get no such headers, which would make each refusal longer.
pub(super) fn guard(headers: &mut HeaderMap) {
    let policy = headers.entry(header::CONTENT_SECURITY_POLICY);
    policy.or_insert(NO_PAGE);
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, NO_SNIFF);
}
