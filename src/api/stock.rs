//! HTTP handlers of `/products/{id}/availability` and `/products/{id}/events`: units for sale.

use std::time::Duration;

use axum::{
    extract::{Request, State},
    response::{Response, sse::Event},
};
use chrono::{DateTime, Utc};
use futures::stream;
use serde::Serialize;
use tokio::{sync::watch, time::Instant};
use utoipa::ToSchema;

use super::{
    SharedState,
    clients::ClientAddress,
    event_stream,
    extract::{self, PathId},
    json_document::{JsonDocument, json},
    problem::Problem,
};
use crate::{
    admission::Watcher,
    domain::{Code, Product, ProductId},
    stock_events::StockEvent,
};

#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Availability {
    #[schema(value_type = Uuid)]
    product_id: ProductId,
    /// Whether an order of one unit could succeed now: on sale, and not sold out.
    available: bool,
    /// Units for sale.
    stock: i32,
    max_per_order: i32,
    price: i64,
    currency: String,
    #[schema(example = "Stock: 5 remaining")]
    message: String,
}

/// Read the units for sale; at most a second old
#[utoipa::path(
    get, path = "/products/{id}/availability", tag = "products", params(("id" = Uuid, Path)),
    operation_id = "getAvailability",
    responses((status = 200, body = Availability, description = "the units for sale")),
    extensions(("x-codes" = json!([Code::ProductNotFound]))),
)]
pub(super) async fn availability(
    State(state): State<SharedState>,
    id: PathId,
    request: Request,
) -> Result<JsonDocument, Problem> {
    let id = id.or(Problem::ProductNotFound)?;
    let now = state.store.now();
    if extract::is_admin(&state, request.headers()) {
        let product = state.store.product(id).await?;
        let product = product.ok_or(Problem::ProductNotFound)?;
        let availability = Availability::of(&product, product.for_sale(), now);
        return Ok(JsonDocument(json(&availability)));
    }
    let (cached, for_sale) = state.cache.for_sale(id).await?;
    if for_sale == cached.product.for_sale() {
        let render = |product: &Product| json(&Availability::of(product, for_sale, now));
        return Ok(JsonDocument(cached.availability(render)));
    }
    Ok(JsonDocument(json(&Availability::of(
        &cached.product,
        for_sale,
        now,
    ))))
}

impl Availability {
    fn of(product: &Product, for_sale: i32, now: DateTime<Utc>) -> Self {
        Self {
            product_id: product.id,
            available: for_sale > 0 && product.on_sale(now) && product.is_public(),
            stock: for_sale,
            max_per_order: product.max_per_order,
            price: product.price,
            message: format!("Stock: {for_sale} remaining"),
            currency: product.currency.clone(),
        }
    }
}

/// The data of a `stock` event.
#[derive(Debug, Serialize, ToSchema)]
struct StockEventData {
    stock: i32,
    version: i64,
}

/// Watch the units for sale: server-sent events of type `stock`
#[utoipa::path(
    get, path = "/products/{id}/events", tag = "products", params(("id" = Uuid, Path)),
    operation_id = "watchStock",
    responses(
        (status = 200, content_type = "text/event-stream", body = String,
            description = "`event: stock`, `data: {\"stock\", \"version\"}`: first the current state, then changes, at most ten a second"),
    ),
    extensions(("x-codes" = json!([Code::ProductNotFound, Code::StreamLimit]))),
)]
pub(super) async fn events(
    State(state): State<SharedState>,
    ClientAddress(address): ClientAddress,
    id: PathId,
) -> Result<Response, Problem> {
    let id = id.or(Problem::ProductNotFound)?;
    let place = state.streams.open(Watcher {
        user: None,
        address,
    })?;
    // Unknown products get no subscription.
    state.cache.product(id).await?;
    let changes = state.stock_events.watch(id);
    // Subscribed before this read, so that no change is lost between the two.
    let first = state.cache.product(id).await?;
    let watch = Watch {
        next: Some(StockEvent::from(&first.product)),
        sent: 0,
        not_before: Instant::now(),
        changes,
    };
    let tasks = state.tasks.clone();
    let events = stream::unfold(watch, async |mut watch| {
        let stock = watch.next().await?;
        Some((event(stock), watch))
    });
    let end = async move { tasks.stopped().await };
    Ok(event_stream::respond(place.hold(events), end))
}

/// Minimum time between two events of a stream; changes in between become one event with the
/// last state. It bounds the cost of thousands of readers during a sale.
const PAUSE: Duration = Duration::from_millis(100);

/// The state of one event stream.
#[derive(Debug)]
struct Watch {
    next: Option<StockEvent>,
    /// The version last sent.
    sent: i64,
    not_before: Instant,
    changes: watch::Receiver<Option<StockEvent>>,
}

impl Watch {
    /// The next state that is newer than the last one sent; `None` at the end, and once the product
    /// is hidden.
    async fn next(&mut self) -> Option<StockEvent> {
        loop {
            if let Some(stock) = self.next.take().filter(|stock| stock.version > self.sent) {
                if stock.hidden {
                    return None;
                }
                self.sent = stock.version;
                self.not_before = Instant::now() + PAUSE;
                return Some(stock);
            }
            self.changes.changed().await.ok()?;
            tokio::time::sleep_until(self.not_before).await;
            self.next = *self.changes.borrow_and_update();
        }
    }
}

fn event(stock: StockEvent) -> Event {
    let data = StockEventData {
        stock: stock.for_sale,
        version: stock.version,
    };
    let event = Event::default()
        .event("stock")
        .id(stock.version.to_string());
    event.json_data(data).unwrap_or_default()
}
