//! The demo storefront at `/`, from files in the binary. Only with `--demo`.

use axum::{Router, extract::Path, routing::get};

use super::{
    SharedState,
    files::{self, File, HTML, IMAGE, SCRIPT, STYLE, respond},
};

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
const FILES: [File; 10] = [
    file!("shop.css", STYLE),
    file!("icon.svg", IMAGE),
    file!("flash-sale.js", SCRIPT),
    file!("start.js", SCRIPT),
    file!("shop.js", SCRIPT),
    file!("drop.js", SCRIPT),
    file!("card.js", SCRIPT),
    file!("orders.js", SCRIPT),
    file!("words.js", SCRIPT),
    file!("dom.js", SCRIPT),
];

pub(super) fn pages() -> Router<SharedState> {
    Router::new()
        .route("/", get(async || respond(PAGE.media_type, PAGE.text)))
        .route(
            "/storefront/{file}",
            get(async |Path(name): Path<String>| files::find(&FILES, &name)),
        )
}
