//! `/products`: create, change, restock, get, list.

use axum::{
    Json,
    extract::{Request, State},
    http::StatusCode,
};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};
use uuid::Uuid;

use self::body::{NewProduct, ProductPatch, RestockBody};
use super::{
    Shared,
    document::{Document, json},
    extract::{self, Params, PathId},
    problem::{Problem, ProblemDocument},
};
use crate::{
    domain::{Product, STOCK_MAX},
    events::Stock,
    metrics,
    sequencer::Restock,
};

mod body;

/// Offer a product (admin)
#[utoipa::path(
    post, path = "/products", tag = "products", request_body = NewProduct,
    security(("token" = [])),
    responses(
        (status = 201, body = Product),
        (status = 403, body = ProblemDocument, description = "forbidden"),
        (status = 409, body = ProblemDocument, description = "sku_taken"),
        (status = 422, body = ProblemDocument, description = "invalid_request"),
    ),
)]
pub(super) async fn create(
    State(shared): State<Shared>,
    request: Request,
) -> Result<(StatusCode, Json<Product>), Problem> {
    let sent = extract::from_admin::<NewProduct>(&shared, request).await?;
    let product = shared
        .store
        .create_product(sent.body.offered_at(shared.store.now()))
        .await?;
    metrics::product(&product.sku).stock.set(product.stock);
    shared.cache.written(&product);
    Ok((StatusCode::CREATED, Json(product)))
}

/// Change a product (admin)
#[utoipa::path(
    patch, path = "/products/{id}", tag = "products", params(("id" = Uuid, Path)),
    request_body = ProductPatch, security(("token" = [])),
    responses(
        (status = 200, body = Product),
        (status = 404, body = ProblemDocument, description = "product_not_found"),
        (status = 409, body = ProblemDocument, description = "sku_taken"),
        (status = 422, body = ProblemDocument, description = "invalid_request"),
    ),
)]
pub(super) async fn patch(
    State(shared): State<Shared>,
    id: PathId,
    request: Request,
) -> Result<Json<Product>, Problem> {
    let sent = extract::from_admin::<ProductPatch>(&shared, request).await?;
    let id = id.or(Problem::ProductNotFound)?;
    let patched = shared
        .store
        .patch_product(id, sent.body.into(), shared.store.now());
    let product = patched.await?.ok_or(Problem::ProductNotFound)?;
    // Whoever knows an older version learns that its terms are no longer true.
    shared.events.changed(Stock::from(&product));
    shared.cache.written(&product);
    if product.stock_reserved > 0 {
        // Who waits may be served by the new terms; if not now, then by the next batch.
        if let Err(error) = shared.sequencer.tend(id, sent.began).await {
            tracing::debug!(product = %id, "cannot tend to {id} now: {error}");
        }
    }
    Ok(Json(product))
}

/// Offer more units of a product (admin)
#[utoipa::path(
    post, path = "/products/{id}/restock", tag = "products", params(("id" = Uuid, Path)),
    request_body = RestockBody, security(("token" = [])),
    responses(
        (status = 200, body = Product),
        (status = 404, body = ProblemDocument, description = "product_not_found"),
        (status = 422, body = ProblemDocument, description = "invalid_request"),
    ),
)]
pub(super) async fn restock(
    State(shared): State<Shared>,
    id: PathId,
    request: Request,
) -> Result<Json<Product>, Problem> {
    let sent = extract::from_admin::<RestockBody>(&shared, request).await?;
    let id = id.or(Problem::ProductNotFound)?;
    match shared
        .sequencer
        .restock(id, sent.body.quantity, sent.began)
        .await?
    {
        Restock::Done(product) => {
            shared.cache.written(&product);
            Ok(Json(*product))
        }
        Restock::NotFound => Err(Problem::ProductNotFound),
        Restock::TooLarge => Err(Problem::invalid(
            "quantity",
            format!("would offer more than {STOCK_MAX} units in all"),
        )),
    }
}

/// Read a product; at most a second old
#[utoipa::path(
    get, path = "/products/{id}", tag = "products", params(("id" = Uuid, Path)),
    responses((status = 200, body = Product), (status = 404, body = ProblemDocument)),
)]
pub(super) async fn get(State(shared): State<Shared>, id: PathId) -> Result<Document, Problem> {
    let id = id.or(Problem::ProductNotFound)?;
    let shown = shared.cache.product(id).await?;
    Ok(Document(shown.document(json)))
}

#[derive(Debug, Deserialize, IntoParams)]
pub(super) struct ListParams {
    #[param(value_type = Option<u64>)]
    limit: Option<String>,
    #[param(value_type = Option<Uuid>)]
    cursor: Option<String>,
}

#[derive(Debug, Serialize, ToSchema)]
pub(super) struct ProductPage {
    products: Vec<Product>,
    /// Gives the next page as `cursor`; null on the last one.
    next_cursor: Option<Uuid>,
}

/// List products, newest first; at most a second old
#[utoipa::path(
    get, path = "/products", tag = "products", params(ListParams),
    responses((status = 200, body = ProductPage), (status = 422, body = ProblemDocument)),
)]
pub(super) async fn list(
    State(shared): State<Shared>,
    Params(params): Params<ListParams>,
) -> Result<Document, Problem> {
    let limit = extract::limit(params.limit.as_deref())?;
    let before = extract::cursor(params.cursor.as_deref())?;
    let make = |rows| {
        let (products, next_cursor) = extract::page(rows, limit, |product: &Product| product.id);
        json(&ProductPage {
            products,
            next_cursor,
        })
    };
    let page = shared.cache.page(before, limit + 1, make).await?;
    Ok(Document(page))
}
