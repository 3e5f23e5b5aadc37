//! `/products/{id}/availability` and `/products/{id}/events`: how much is left, now and from now on.

use std::convert::Infallible;

use axum::{
    Json,
    extract::State,
    response::sse::{Event, KeepAlive, Sse},
};
use futures::{Stream, StreamExt, stream};
use serde::Serialize;
use tokio_stream::wrappers::WatchStream;
use utoipa::ToSchema;

use super::{
    Shared,
    extract::PathId,
    problem::{Problem, ProblemDocument},
    products,
};
use crate::{domain::ProductId, events::Stock};

#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Availability {
    #[schema(value_type = Uuid)]
    product_id: ProductId,
    /// Whether an order could succeed now: on sale, and not sold out.
    available: bool,
    stock: i32,
    max_per_order: i32,
    price: i64,
    currency: String,
    #[schema(example = "Stock: 5 remaining")]
    message: String,
}

/// Read how much is left
#[utoipa::path(
    get, path = "/products/{id}/availability", tag = "products", params(("id" = Uuid, Path)),
    responses((status = 200, body = Availability), (status = 404, body = ProblemDocument)),
)]
pub(super) async fn availability(
    State(shared): State<Shared>,
    id: PathId,
) -> Result<Json<Availability>, Problem> {
    let product = products::find(&shared, id).await?;
    Ok(Json(Availability {
        product_id: product.id,
        available: product.for_sale() > 0 && product.on_sale(shared.store.now()),
        stock: product.for_sale(),
        max_per_order: product.max_per_order,
        price: product.price,
        message: format!("Stock: {} remaining", product.for_sale()),
        currency: product.currency,
    }))
}

/// The data of a `stock` event.
#[derive(Debug, Serialize, ToSchema)]
struct StockEvent {
    stock: i32,
    version: i64,
}

/// Watch how much is left: server-sent events of type `stock`
#[utoipa::path(
    get, path = "/products/{id}/events", tag = "products", params(("id" = Uuid, Path)),
    responses(
        (status = 200, content_type = "text/event-stream", body = String,
            description = "`event: stock`, `data: {\"stock\", \"version\"}`: at first as it is, then on every change"),
        (status = 404, body = ProblemDocument),
    ),
)]
pub(super) async fn events(
    State(shared): State<Shared>,
    id: PathId,
) -> Result<Sse<impl Stream<Item = Result<Event, Infallible>>>, Problem> {
    let product = products::find(&shared, id).await?;
    let changes = WatchStream::new(shared.events.watch(product.id));
    // Watching begins before this read counts, so that no change falls between the two.
    let first = products::find(&shared, id).await?;
    let tasks = shared.tasks.clone();
    let stream = stream::iter([Some(Stock::from(&first))])
        .chain(changes)
        .filter_map(async |stock| stock)
        .scan(0, |last, stock| {
            std::future::ready(Some(newer(last, stock)))
        })
        .filter_map(async |event| event)
        .take_until(async move { tasks.stopped().await });
    Ok(Sse::new(stream).keep_alive(KeepAlive::default()))
}

/// An event for a version above the last one sent.
fn newer(last: &mut i64, stock: Stock) -> Option<Result<Event, Infallible>> {
    if stock.version <= *last {
        return None;
    }
    *last = stock.version;
    let data = StockEvent {
        stock: stock.stock,
        version: stock.version,
    };
    let event = Event::default().event("stock").json_data(data);
    event.ok().map(Ok)
}
