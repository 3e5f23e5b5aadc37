//! HTTP handlers of `/products`: create, change, restock, archive, get, list.

use std::{future::Future, sync::Arc, time::Instant};

use axum::{
    Json,
    extract::{Request, State},
    http::StatusCode,
};
use serde::{Deserialize, Serialize};
use tokio::sync::oneshot;
use utoipa::{IntoParams, ToSchema};
use uuid::Uuid;

use self::{
    body::{NewProductBody, ProductPatchBody, RestockBody},
    document::ProductDocument,
};
use super::{
    SharedState,
    extract::{self, Params, PathId, Sent},
    json_document::{JsonDocument, json},
    observe::Began,
    problem::Problem,
};
use crate::{
    domain::{Actor, Code, Product, ProductId, Refusal, STOCK_MAX},
    metrics,
    sequencer::Restock,
    stock_events::StockEvent,
    store::{Archived, Listing},
    telemetry::request,
};

pub(super) mod body;
mod document;

/// Create a product (admin)
#[utoipa::path(
    post, path = "/products", tag = "products", request_body = NewProductBody,
    operation_id = "createProduct", security(("token" = [])),
    responses((status = 201, body = ProductDocument, description = "the product")),
    extensions(("x-codes" = json!([Code::Forbidden, Code::SkuTaken]))),
)]
pub(super) async fn create(
    State(state): State<SharedState>,
    request: Request,
) -> Result<(StatusCode, Json<ProductDocument>), Problem> {
    let sent = extract::from_admin::<NewProductBody>(&state, request).await?;
    let actor = sent.actor();
    let new = sent.body.created_at(state.store.now());
    let product = state.store.create_product(new, &actor).await?;
    metrics::product(&product.sku)
        .stock
        .set(product.stock.on_hand);
    state.cache.written(&product);
    warn_of_unpayable_hold(&state, &product);
    Ok((StatusCode::CREATED, Json(product.into())))
}

/// Change a product (admin)
#[utoipa::path(
    patch, path = "/products/{id}", tag = "products", params(("id" = Uuid, Path)),
    operation_id = "changeProduct", request_body = ProductPatchBody, security(("token" = [])),
    responses((status = 200, body = ProductDocument, description = "the changed product")),
    extensions(("x-codes" = json!([Code::Forbidden, Code::ProductNotFound, Code::SkuTaken]))),
)]
pub(super) async fn patch(
    State(state): State<SharedState>,
    id: PathId,
    request: Request,
) -> Result<Json<ProductDocument>, Problem> {
    let sent = extract::from_admin::<ProductPatchBody>(&state, request).await?;
    let id = id.or(Problem::ProductNotFound)?;
    let change = change(SharedState::clone(&state), id, sent);
    let product = run_detached(&state, change).await?;
    Ok(Json(product.into()))
}

/// Runs a change in a task of its own: a caller who goes away after the commit must not keep it from
/// the caches and the other nodes.
async fn run_detached<T: Send + 'static>(
    state: &SharedState,
    change: impl Future<Output = Result<T, Problem>> + Send + 'static,
) -> Result<T, Problem> {
    let (sender, result) = oneshot::channel();
    let change = request::carry(change);
    state.tasks.spawn("product change", async move {
        drop(sender.send(change.await));
    });
    result.await.map_err(|_| Problem::Internal {
        cause: "the change of a product did not end".to_owned(),
    })?
}

/// Changes the product and tells everybody who may have read the old one.
async fn change(
    state: SharedState,
    id: ProductId,
    sent: Sent<ProductPatchBody>,
) -> Result<Product, Problem> {
    let actor = sent.actor();
    let patched = state.store.patch_product(id, sent.body.into(), &actor);
    let product = patched.await?.ok_or(Problem::ProductNotFound)?;
    // Caches drop an older version.
    state.stock_events.publish(StockEvent::from(&product));
    state.cache.written(&product);
    warn_of_unpayable_hold(&state, &product);
    if product.stock.reserved > 0 {
        // The new terms may allow offers to the waitlist; if this fails, a later batch makes them.
        if let Err(error) = state.sequencer.expire_holds(id, sent.began).await {
            tracing::debug!(product = %id, "cannot serve the waitlist of {id} now: {error}");
        }
    }
    Ok(product)
}

/// Its orders expire unless an admin confirms each of them.
fn warn_of_unpayable_hold(state: &SharedState, product: &Product) {
    let needs_payment = product.hold_seconds.is_some() && product.price > 0;
    if needs_payment && !state.checkout.takes_payments() {
        let sku = &product.sku;
        tracing::warn!(
            product = sku,
            "{sku} has hold_seconds, but PAYMENTS is none: its orders expire unless an admin \
             confirms them with an external_payment"
        );
    }
}

/// Add units to a product, or take units away (admin)
#[utoipa::path(
    post, path = "/products/{id}/restock", tag = "products", params(("id" = Uuid, Path)),
    operation_id = "restockProduct", request_body = RestockBody, security(("token" = [])),
    responses((status = 200, body = ProductDocument, description = "the product with its new stock")),
    extensions(("x-codes" = json!([Code::Forbidden, Code::ProductNotFound, Code::InsufficientStock, Code::HighDemand, Code::OutcomeUnknown]))),
)]
pub(super) async fn restock(
    State(state): State<SharedState>,
    id: PathId,
    request: Request,
) -> Result<Json<ProductDocument>, Problem> {
    let sent = extract::from_admin::<RestockBody>(&state, request).await?;
    let id = id.or(Problem::ProductNotFound)?;
    let restocked = state
        .sequencer
        .restock(id, sent.body.quantity, sent.actor(), sent.began);
    match restocked.await? {
        Restock::Done(product) => {
            state.cache.written(&product);
            Ok(Json((*product).into()))
        }
        Restock::NotFound => Err(Problem::ProductNotFound),
        Restock::TooSmall { available } => {
            Err(Problem::Refused(Refusal::InsufficientStock { available }))
        }
        Restock::TooLarge => Err(Problem::invalid(
            "quantity",
            format!("would offer more than {STOCK_MAX} units in all"),
        )),
    }
}

/// Archive a product that has no live orders (admin)
#[utoipa::path(
    delete, path = "/products/{id}", tag = "products", params(("id" = Uuid, Path)),
    operation_id = "archiveProduct", security(("token" = [])),
    responses((status = 204, description = "archived")),
    extensions(("x-codes" = json!([Code::Forbidden, Code::ProductNotFound, Code::HasLiveOrders]))),
)]
pub(super) async fn archive(
    State(state): State<SharedState>,
    id: PathId,
    request: Request,
) -> Result<StatusCode, Problem> {
    let began = Began::of(&request);
    let user = state.keys.user(request.headers()).await?;
    extract::require_admin(&user)?;
    let id = id.or(Problem::ProductNotFound)?;
    let actor = extract::actor(&user, request.headers(), request.extensions());
    let archived = retire(SharedState::clone(&state), id, actor, began);
    run_detached(&state, archived).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Archives the product and tells everybody who may have read it.
async fn retire(
    state: SharedState,
    id: ProductId,
    actor: Arc<Actor>,
    began: Instant,
) -> Result<(), Problem> {
    match state.store.archive_product(id, &actor).await? {
        Archived::Done(product) => {
            state.stock_events.publish(StockEvent::from(&*product));
            state.cache.written(&product);
            // Ends the places on its waitlist; if this fails, the expiry job repeats it.
            if let Err(error) = state.sequencer.expire_holds(id, began).await {
                tracing::debug!(product = %id, "cannot end the waitlist of {id} now: {error}");
            }
        }
        Archived::Already => {}
        Archived::HasLiveOrders => return Err(Problem::HasLiveOrders),
        Archived::NotFound => return Err(Problem::ProductNotFound),
    }
    Ok(())
}

/// Read a product; at most a second old
#[utoipa::path(
    get, path = "/products/{id}", tag = "products", params(("id" = Uuid, Path)),
    operation_id = "getProduct",
    responses((status = 200, body = ProductDocument, description = "the product")),
    extensions(("x-codes" = json!([Code::ProductNotFound]))),
)]
pub(super) async fn get(
    State(state): State<SharedState>,
    id: PathId,
    request: Request,
) -> Result<JsonDocument, Problem> {
    let id = id.or(Problem::ProductNotFound)?;
    if extract::is_admin(&state, request.headers()) {
        let product = state.store.product(id).await?;
        let product = product.ok_or(Problem::ProductNotFound)?;
        return Ok(JsonDocument(json(&ProductDocument::from(product))));
    }
    let cached = state.cache.product(id).await?;
    let render = |product: &Product| json(&ProductDocument::from(product.clone()));
    Ok(JsonDocument(cached.document(render)))
}

#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct ProductListParams {
    #[param(required = false, nullable = false, value_type = Option<u64>, minimum = 1, maximum = 100)]
    limit: Option<String>,
    #[param(required = false, nullable = false, value_type = Option<Uuid>)]
    cursor: Option<String>,
}

#[derive(Debug, Serialize, ToSchema)]
pub(super) struct ProductPage {
    products: Vec<ProductDocument>,
    /// The `cursor` of the next page; null on the last one.
    next_cursor: Option<Uuid>,
}

/// List products, newest first; at most a second old
#[utoipa::path(
    get, path = "/products", tag = "products", params(ProductListParams),
    operation_id = "listProducts",
    responses((status = 200, body = ProductPage, description = "a page of products")),
)]
pub(super) async fn list(
    State(state): State<SharedState>,
    Params(params): Params<ProductListParams>,
    request: Request,
) -> Result<JsonDocument, Problem> {
    let limit = extract::limit(params.limit.as_deref())?;
    let before = extract::cursor(params.cursor.as_deref())?;
    let render = |rows| {
        let (products, next_cursor) = extract::page(rows, limit, |product: &Product| product.id);
        json(&ProductPage {
            products: products.into_iter().map(ProductDocument::from).collect(),
            next_cursor,
        })
    };
    if extract::is_admin(&state, request.headers()) {
        let listing = Listing::Unarchived;
        let products = state.store.products(listing, before, limit + 1).await?;
        return Ok(JsonDocument(render(products)));
    }
    let page = state.cache.page(before, limit + 1, render).await?;
    Ok(JsonDocument(page))
}
