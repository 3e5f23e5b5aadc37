//! `/products/{id}/availability` and `/products/{id}/events`: how much is left, now and from now on.

use std::{convert::Infallible, time::Duration};

use axum::{
    extract::State,
    response::sse::{Event, KeepAlive, Sse},
};
use chrono::{DateTime, Utc};
use futures::{Stream, StreamExt, stream};
use serde::Serialize;
use tokio::{sync::watch, time::Instant};
use utoipa::ToSchema;

use super::{
    Shared,
    document::{Document, json},
    extract::PathId,
    problem::{Problem, ProblemDocument},
};
use crate::{
    domain::{Product, ProductId},
    events::Stock,
};

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

/// Read how much is left; at most a second old
#[utoipa::path(
    get, path = "/products/{id}/availability", tag = "products", params(("id" = Uuid, Path)),
    responses((status = 200, body = Availability), (status = 404, body = ProblemDocument)),
)]
pub(super) async fn availability(
    State(shared): State<Shared>,
    id: PathId,
) -> Result<Document, Problem> {
    let id = id.or(Problem::ProductNotFound)?;
    let now = shared.store.now();
    let (shown, stock) = shared.cache.stock(id).await?;
    if stock == shown.product.for_sale() {
        let make = |product: &Product| json(&Availability::of(product, product.for_sale(), now));
        return Ok(Document(shown.availability(make)));
    }
    Ok(Document(json(&Availability::of(
        &shown.product,
        stock,
        now,
    ))))
}

impl Availability {
    fn of(product: &Product, stock: i32, now: DateTime<Utc>) -> Self {
        Self {
            product_id: product.id,
            available: stock > 0 && product.on_sale(now),
            stock,
            max_per_order: product.max_per_order,
            price: product.price,
            message: format!("Stock: {stock} remaining"),
            currency: product.currency.clone(),
        }
    }
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
            description = "`event: stock`, `data: {\"stock\", \"version\"}`: at first as it is, then as it has become, ten times a second at most"),
        (status = 404, body = ProblemDocument),
    ),
)]
pub(super) async fn events(
    State(shared): State<Shared>,
    id: PathId,
) -> Result<Sse<impl Stream<Item = Result<Event, Infallible>>>, Problem> {
    let id = id.or(Problem::ProductNotFound)?;
    // An unknown product is not worth a watch.
    shared.cache.product(id).await?;
    let changes = shared.events.watch(id);
    // Watching begins before this read counts, so that no change falls between the two.
    let first = shared.cache.product(id).await?;
    let watch = Watch {
        next: Some(Stock::from(&first.product)),
        sent: 0,
        not_before: Instant::now(),
        changes,
    };
    let tasks = shared.tasks.clone();
    let events = stream::unfold(watch, async |mut watch| {
        let stock = watch.next().await?;
        Some((Ok(event(stock)), watch))
    });
    let events = events.take_until(async move { tasks.stopped().await });
    Ok(Sse::new(events).keep_alive(KeepAlive::new().interval(HEARTBEAT)))
}

/// A stream says so much even if nothing happens, so that both ends notice when the other is gone.
const HEARTBEAT: Duration = Duration::from_secs(15);
/// The least time between two events of a stream: what happens meanwhile is one event, the last
/// state. A page needs no more, and thousands of readers must not cost the sale its time.
const PAUSE: Duration = Duration::from_millis(100);

/// What a reader is told next.
#[derive(Debug)]
struct Watch {
    next: Option<Stock>,
    /// The version last told.
    sent: i64,
    not_before: Instant,
    changes: watch::Receiver<Option<Stock>>,
}

impl Watch {
    /// The next state that is newer than the last one told; None when there will be none.
    async fn next(&mut self) -> Option<Stock> {
        loop {
            if let Some(stock) = self.next.take().filter(|stock| stock.version > self.sent) {
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

fn event(stock: Stock) -> Event {
    let data = StockEvent {
        stock: stock.stock,
        version: stock.version,
    };
    let event = Event::default().event("stock").json_data(data);
    event.unwrap_or_default()
}
