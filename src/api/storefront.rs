//! The demo storefront at `/`, from files in the binary. Only with `--demo`.
//!
//! Its content security policy allows no script, style or call but the page's own: a product's name
//! that got into the page as markup could do nothing.

use axum::{
    Router,
    extract::Path,
    http::{HeaderName, header},
    response::{IntoResponse, Response},
    routing::get,
};

use super::{SharedState, problem::Problem};

const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; \
    connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

const HTML: &str = "text/html; charset=utf-8";
const SCRIPT: &str = "text/javascript; charset=utf-8";
const STYLE: &str = "text/css; charset=utf-8";
const IMAGE: &str = "image/svg+xml";

/// A file of the folder `storefront`.
struct File {
    name: &'static str,
    media_type: &'static str,
    text: &'static str,
}

macro_rules! file {
    ($name:literal, $media_type:expr) => {
        File {
            name: $name,
            media_type: $media_type,
            text: include_str!(concat!("../../storefront/", $name)),
        }
    };
}

const PAGE: File = file!("index.html", HTML);
const FILES: [File; 9] = [
    file!("shop.css", STYLE),
    file!("icon.svg", IMAGE),
    file!("flash-sale.js", SCRIPT),
    file!("shop.js", SCRIPT),
    file!("drop.js", SCRIPT),
    file!("card.js", SCRIPT),
    file!("orders.js", SCRIPT),
    file!("words.js", SCRIPT),
    file!("dom.js", SCRIPT),
];

pub(super) fn pages() -> Router<SharedState> {
    Router::new()
        .route("/", get(async || respond(&PAGE)))
        .route(
            "/storefront/{file}",
            get(async |Path(name): Path<String>| {
                let file = FILES.iter().find(|file| file.name == name);
                file.map(respond).ok_or(Problem::NotFound)
            }),
        )
}

fn respond(file: &File) -> Response {
    let headers: [(HeaderName, &str); 5] = [
        (header::CONTENT_TYPE, file.media_type),
        (header::CONTENT_SECURITY_POLICY, POLICY),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::REFERRER_POLICY, "no-referrer"),
        // After an upgrade, old scripts with a new page would not work.
        (header::CACHE_CONTROL, "no-cache"),
    ];
    (headers, file.text).into_response()
}
