//! HTTP handlers of `/openapi.json` and `/docs`: the OpenAPI document and Swagger UI.

use std::{borrow::Cow, sync::Arc};

use axum::{Router, extract::Path, response::Response, routing::get};
use bytes::Bytes;
use utoipa::{
    Modify, OpenApi,
    openapi::{
        self,
        security::{HttpAuthScheme, HttpBuilder, SecurityScheme},
    },
};
use utoipa_swagger_ui::{Config, SwaggerFile};

use super::{
    files::{HTML, respond_under},
    json_document::{JsonDocument, json},
    problem::{Problem, ProblemDocument},
};

mod operations;
mod query;

pub(super) use self::query::QueryNames;

#[derive(OpenApi)]
#[openapi(
    info(
        title = "flash-sale",
        description = "Orders for flash sales: no unit is sold twice, none is left unsold.\n\n\
            Every error is a problem document (RFC 9457); callers branch on its `code`. A path with another method \
            answers 405 (`method_not_allowed`), any other path 404 (`not_found`).",
        license(name = "MIT OR Apache-2.0", identifier = "MIT OR Apache-2.0"),
    ),
    components(schemas(ProblemDocument)),
    modifiers(&Bearer),
)]
struct ApiDocument;

struct Bearer;

impl Modify for Bearer {
    fn modify(&self, document: &mut openapi::OpenApi) {
        let bearer = HttpBuilder::new()
            .scheme(HttpAuthScheme::Bearer)
            .bearer_format("JWT")
            .build();
        document
            .components
            .get_or_insert_default()
            .add_security_scheme("token", SecurityScheme::Http(bearer));
    }
}

/// The OpenAPI document without paths; the router adds them.
pub(super) fn document() -> openapi::OpenApi {
    ApiDocument::openapi()
}

/// Adds to the paths what every operation has in common.
pub(super) fn complete(mut document: openapi::OpenApi) -> openapi::OpenApi {
    operations::complete(&mut document);
    document
}

/// The document, and Swagger UI from assets in the binary, so that it works offline.
///
/// Anybody may call them, so an answer copies nothing: rendering the document takes milliseconds.
pub(super) fn pages<S: Clone + Send + Sync + 'static>(document: &openapi::OpenApi) -> Router<S> {
    let document = json(document);
    let config = Arc::new(Config::from("/openapi.json"));
    let assets = Arc::clone(&config);
    Router::new()
        .route("/openapi.json", get(async move || JsonDocument(document)))
        .route("/docs", get(async move || page(config)))
        .route(
            "/docs/{*file}",
            get(async move |Path(file): Path<String>| asset(&file, assets)),
        )
}

/// Swagger UI links its assets by relative paths; at `/docs` without a slash they need a `<base>`.
fn page(config: Arc<Config<'static>>) -> Result<Response, Problem> {
    let file = find("index.html", config)?;
    let page = String::from_utf8_lossy(&file.bytes);
    let page = page.replacen("<head>", "<head><base href=\"/docs/\">", 1);
    Ok(respond_under(POLICY, HTML, page))
}

/// The content security policy of Swagger UI: its own files, whose styles hold images, the one style
/// that its script adds to the page, and calls of this service. `<base>` of its own page only.
const POLICY: &str = "default-src 'none'; script-src 'self'; \
    style-src 'self' 'sha256-RL3ie0nH+Lzz2YNqQN83mnU0J1ot4QL7b99vMdIX99w='; \
    img-src 'self' data:; connect-src 'self'; base-uri 'self'; form-action 'none'; \
    frame-ancestors 'none'";

fn asset(path: &str, config: Arc<Config<'static>>) -> Result<Response, Problem> {
    let file = find(path, config)?;
    let bytes = match file.bytes {
        Cow::Borrowed(bytes) => Bytes::from_static(bytes),
        Cow::Owned(bytes) => Bytes::from(bytes),
    };
    Ok(respond_under(POLICY, &file.content_type, bytes))
}

fn find(path: &str, config: Arc<Config<'static>>) -> Result<SwaggerFile<'static>, Problem> {
    match utoipa_swagger_ui::serve(path, config) {
        Ok(file) => file.ok_or(Problem::NotFound),
        Err(error) => Err(Problem::Internal {
            cause: error.to_string(),
        }),
    }
}

#[cfg(test)]
mod tests {
    use axum::{body, body::Body, http::Request};
    use hyper::service::Service;
    use hyper_util::service::TowerToHyperService;

    use super::*;

    #[tokio::test]
    async fn answers_share_their_bytes() {
        let pages = TowerToHyperService::new(pages::<()>(&document()));
        let get = async |path: &str| {
            let request = Request::get(path).body(Body::empty()).unwrap();
            let response = pages.call(request).await.unwrap();
            assert_eq!(response.status(), 200, "{path}");
            let body = body::to_bytes(response.into_body(), usize::MAX).await;
            body.unwrap()
        };
        for path in ["/openapi.json", "/docs/swagger-ui-bundle.js"] {
            let (first, second) = (get(path).await, get(path).await);
            assert!(!first.is_empty());
            assert_eq!(first.as_ptr(), second.as_ptr(), "{path} is copied");
        }
    }
}
