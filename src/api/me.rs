//! HTTP handler of `/me/events`: an event stream of a user's orders and waitlist places.

use std::{
    collections::{HashMap, VecDeque},
    convert::Infallible,
    time::Duration,
};

use axum::{
    extract::State,
    http::HeaderMap,
    response::sse::{Event, KeepAlive, Sse},
};
use futures::{Stream, stream};
use serde::Serialize;
use tokio::{sync::watch, time::timeout};
use uuid::Uuid;

use super::{SharedState, clients::ClientAddress, problem::Problem};
use crate::{
    admission::Watcher,
    domain::{Code, Order, OrderId, OrderStatus, Payment, UserId, WaitlistEntry, jitter},
    store::{Error, OrderFilter},
};

/// Interval of a stream's database reads without a user event: places move up without one, and
/// Redis may be down.
const POLL_EVERY: Duration = Duration::from_secs(3);
/// User events within this time cause one read.
const COALESCE: Duration = Duration::from_millis(100);
/// The newest orders and places of a user that a stream covers.
const FOLLOWED_MAX: u64 = 100;

/// Follow the caller's orders and places: server-sent events of types `order` and `waitlist`
#[utoipa::path(
    get, path = "/me/events", tag = "me", operation_id = "watchOwnOrders", security(("token" = [])),
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
) -> Result<Sse<impl Stream<Item = Result<Event, Infallible>>>, Problem> {
    let user = state.keys.user(&headers)?.id;
    let place = state.streams.open(Watcher {
        user: Some(UserId::clone(&user)),
        address,
    })?;
    let mut follower = Follower {
        // Subscribed before the first read, so that no change is lost between the two.
        user_events: state.user_events.subscribe(&user),
        state,
        user,
        orders: HashMap::new(),
        places: HashMap::new(),
        ready: VecDeque::new(),
    };
    follower.read_changes().await?;
    let stream = stream::unfold(follower, async |mut follower| {
        let event = follower.next().await?;
        Some((Ok(event), follower))
    });
    Ok(Sse::new(place.hold(stream)).keep_alive(KeepAlive::default()))
}

/// The state of one event stream: the last status sent of each order and place.
struct Follower {
    state: SharedState,
    user: UserId,
    user_events: watch::Receiver<()>,
    orders: HashMap<OrderId, (OrderStatus, Option<Payment>)>,
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
            let tasks = self.state.tasks.clone();
            tokio::select! {
                () = tasks.stopped() => return None,
                _ = timeout(jitter(POLL_EVERY), self.user_events.changed()) => {}
            }
            if !tasks.pause(COALESCE).await {
                return None;
            }
            self.user_events.mark_unchanged();
            if let Err(error) = self.read_changes().await {
                tracing::debug!(%error, "cannot read a user's orders: {error}");
            }
        }
    }

    /// Reads the user's orders and places, and queues events for those that have changed.
    async fn read_changes(&mut self) -> Result<(), Error> {
        let filter = OrderFilter {
            user_id: Some(UserId::clone(&self.user)),
            limit: FOLLOWED_MAX,
            ..OrderFilter::default()
        };
        let orders = self.state.store.orders(filter).await?;
        let places = self
            .state
            .store
            .waiting_entries(&self.user, FOLLOWED_MAX)
            .await?;
        // Oldest first.
        for order in orders.into_iter().rev() {
            self.follow_order(&order);
        }
        let is_waiting = |id: &Uuid| places.iter().any(|place| place.id == *id);
        let ended: Vec<Uuid> = self
            .places
            .keys()
            .filter(|id| !is_waiting(id))
            .copied()
            .collect();
        for id in ended {
            self.places.remove(&id);
            if let Some(place) = self.state.store.entry(id).await? {
                self.queue("waitlist", &place);
            }
        }
        for place in places.into_iter().rev() {
            self.follow_place(&place);
        }
        Ok(())
    }

    fn follow_order(&mut self, order: &Order) {
        let now = (order.status, order.payment.clone());
        if self.orders.get(&order.id) != Some(&now) {
            self.orders.insert(order.id, now);
            self.queue("order", order);
        }
    }

    fn follow_place(&mut self, place: &WaitlistEntry) {
        if self.places.get(&place.id) != Some(&place.position) {
            self.places.insert(place.id, place.position);
            self.queue("waitlist", place);
        }
    }

    fn queue(&mut self, kind: &str, data: &impl Serialize) {
        if let Ok(event) = Event::default().event(kind).json_data(data) {
            self.ready.push_back(event);
        }
    }
}
