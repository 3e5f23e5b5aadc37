//! HTTP handlers of `/me/events`, an event stream of a user's orders and waitlist places, and of
//! the tickets that open it.

use std::{
    collections::{HashMap, VecDeque},
    hash::{DefaultHasher, Hash, Hasher},
    sync::Arc,
    time::{Duration, Instant},
};

use axum::{
    Json,
    extract::State,
    http::{HeaderMap, StatusCode, header},
    response::{IntoResponse, Response, sse::Event},
};
use chrono::{DateTime, Utc};
use futures::stream;
use serde::{Deserialize, Serialize};
use tokio::{sync::watch, time::timeout};
use utoipa::{IntoParams, ToSchema};
use uuid::Uuid;

use self::feed::{Feed, Look};
use super::{
    SharedState, auth::Session, clients::ClientAddress, event_stream, extract::Params,
    problem::Problem,
};
use crate::{
    admission::Watcher,
    domain::{Code, Order, OrderId, OrderStatus, Payment, UserId, WaitlistEntry, jitter, now},
    store::Error,
};

pub mod feed;

/// User events within this time cause one read.
const COALESCE: Duration = Duration::from_millis(100);

/// A ticket for `GET /me/events?ticket=`.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct EventTicket {
    ticket: String,
    expires_at: DateTime<Utc>,
}

/// Make a ticket that opens the caller's event stream within a minute, for `EventSource`
#[utoipa::path(
    post, path = "/me/events/ticket", tag = "me", operation_id = "createEventTicket",
    security(("token" = [])),
    responses((status = 201, body = EventTicket, description = "the ticket")),
)]
pub(super) async fn ticket(
    State(state): State<SharedState>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let session = state.keys.session(&headers).await?;
    let (ticket, expires_at) = state.tickets.issue(&session)?;
    let body = Json(EventTicket { ticket, expires_at });
    let no_store = [(header::CACHE_CONTROL, "no-store")];
    Ok((StatusCode::CREATED, no_store, body).into_response())
}

#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct EventParams {
    /// Instead of a token, which must not be in an address.
    #[param(required = false, nullable = false)]
    ticket: Option<String>,
}

/// Follow the caller's orders and places: server-sent events of types `order` and `waitlist`
#[utoipa::path(
    get, path = "/me/events", tag = "me", params(EventParams), operation_id = "watchOwnOrders",
    security(("token" = [])),
    responses(
        (status = 200, content_type = "text/event-stream", body = String,
            description = "`event: order` with an order, `event: waitlist` with an entry: first the current \
                state, then every change"),
    ),
    extensions(("x-codes" = json!([Code::StreamLimit]))),
)]
pub(super) async fn events(
    State(state): State<SharedState>,
    ClientAddress(address): ClientAddress,
    headers: HeaderMap,
    Params(params): Params<EventParams>,
) -> Result<Response, Problem> {
    let session = match params.ticket {
        Some(ticket) if !headers.contains_key(header::AUTHORIZATION) => {
            state.tickets.session(&ticket)?
        }
        Some(_) | None => state.keys.session(&headers).await?,
    };
    let place = state.streams.open(Watcher {
        user: Some(UserId::clone(&session.user.id)),
        address,
    })?;
    let mut follower = Follower {
        // Subscribed before the first read, so that no change is lost between the two.
        user_events: state.user_events.subscribe(&session.user.id),
        feed: state.feeds.of(&session.user.id),
        state: Arc::clone(&state),
        orders: HashMap::new(),
        places: HashMap::new(),
        ready: VecDeque::new(),
    };
    follower.read_changes(Instant::now()).await?;
    let events = stream::unfold(follower, async |mut follower| {
        let event = follower.next().await?;
        Some((event, follower))
    });
    Ok(event_stream::respond(
        place.hold(events),
        end(state, session),
    ))
}

/// Resolves when the token expires, or the service stops.
async fn end(state: SharedState, session: Session) {
    let left = (session.expires_at - now()).to_std().unwrap_or_default();
    tokio::select! {
        () = state.tasks.stopped() => {}
        () = tokio::time::sleep(left) => {}
    }
}

/// The state of one event stream: what was last sent of each order and place.
struct Follower {
    state: SharedState,
    feed: Arc<Feed>,
    user_events: watch::Receiver<Instant>,
    orders: HashMap<OrderId, (OrderStatus, Option<Box<Payment>>)>,
    places: HashMap<Uuid, Option<i64>>,
    ready: VecDeque<Event>,
}

impl Follower {
    /// The next event; `None` once the service stops.
    async fn next(&mut self) -> Option<Event> {
        loop {
            if let Some(event) = self.ready.pop_front() {
                return Some(event);
            }
            let poll = if self.places.is_empty() {
                jitter(feed::POLL_EVERY)
            } else {
                feed::PLACES_EVERY
            };
            drop(timeout(poll, self.user_events.changed()).await);
            if !self.state.tasks.pause(COALESCE).await {
                return None;
            }
            let changed = *self.user_events.borrow_and_update();
            if let Err(error) = self.read_changes(changed).await {
                tracing::debug!(%error, "cannot read a user's orders: {error}");
            }
        }
    }

    /// Queues events for the orders and places that have changed, as of `since` or later.
    async fn read_changes(&mut self, since: Instant) -> Result<(), Error> {
        let look = self.feed.look(&self.state, since).await?;
        // Oldest first.
        for order in look.orders.iter().rev() {
            self.follow_order(order);
        }
        self.follow_ended(&look);
        for place in look.places.iter().rev() {
            self.follow_place(place);
        }
        Ok(())
    }

    fn follow_order(&mut self, order: &Order) {
        let now = (order.status, order.payment.clone());
        if self.orders.get(&order.id) != Some(&now) {
            self.orders.insert(order.id, now);
            self.queue("order", order.id, order);
        }
    }

    fn follow_ended(&mut self, look: &Look) {
        for place in &look.ended {
            if self.places.remove(&place.id).is_some() {
                self.queue("waitlist", place.id, place);
            }
        }
    }

    fn follow_place(&mut self, place: &WaitlistEntry) {
        if self.places.get(&place.id) != Some(&place.position) {
            self.places.insert(place.id, place.position);
            self.queue("waitlist", place.id, place);
        }
    }

    /// The event's id names the state: after a reconnection, also to another node, a client knows
    /// the states that it has seen.
    fn queue(&mut self, kind: &str, id: Uuid, data: &impl Serialize) {
        let Ok(data) = serde_json::to_string(data) else {
            return;
        };
        let mut state = DefaultHasher::new();
        data.hash(&mut state);
        let id = format!("{id}-{:016x}", state.finish());
        self.ready
            .push_back(Event::default().event(kind).id(id).data(data));
    }
}
