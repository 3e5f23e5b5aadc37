//! `/openapi.json` and `/docs`: the API described, and a page to try it; all assets are our own.

use axum::Router;
use utoipa::{
    Modify, OpenApi,
    openapi::{
        self,
        security::{HttpAuthScheme, HttpBuilder, SecurityScheme},
    },
};
use utoipa_swagger_ui::SwaggerUi;

use super::Shared;

#[derive(OpenApi)]
#[openapi(
    info(
        title = "flash-sale",
        description = "Orders for flash sales: no unit is sold twice, none is left unsold."
    ),
    modifiers(&Bearer),
)]
struct Document;

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

/// The frame of the description; routes add themselves.
pub(super) fn document() -> openapi::OpenApi {
    Document::openapi()
}

pub(super) fn pages(document: openapi::OpenApi) -> Router<Shared> {
    SwaggerUi::new("/docs")
        .url("/openapi.json", document)
        .into()
}
