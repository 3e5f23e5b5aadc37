//! `/me/events`: what becomes of a user's orders and places, as it happens.

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

use super::{
    Shared,
    problem::{Problem, ProblemDocument},
};
use crate::{
    domain::{Order, OrderId, OrderStatus, Payment, UserId, WaitlistEntry, jitter},
    store::{Error, OrderFilter},
};

/// A reader whom nobody tells looks this often: for places that moved up, and without Redis.
const LOOK_EVERY: Duration = Duration::from_secs(3);
/// News that comes faster than this is taken together.
const AT_ONCE: Duration = Duration::from_millis(100);
/// The newest orders and places of a user that are followed.
const FOLLOWED_MAX: u64 = 100;

/// Follow one's own orders and places: server-sent events of types `order` and `waitlist`
#[utoipa::path(
    get, path = "/me/events", tag = "me", security(("token" = [])),
    responses(
        (status = 200, content_type = "text/event-stream", body = String,
            description = "`event: order` with an order, `event: waitlist` with an entry: at first as they are, \
                then each that changes"),
        (status = 401, body = ProblemDocument, description = "unauthenticated"),
    ),
)]
pub(super) async fn events(
    State(shared): State<Shared>,
    headers: HeaderMap,
) -> Result<Sse<impl Stream<Item = Result<Event, Infallible>>>, Problem> {
    let user = shared.keys.user(&headers)?.id;
    let mut follower = Follower {
        // Before the first look, so that nothing falls between the two.
        news: shared.news.read(&user),
        shared,
        user,
        orders: HashMap::new(),
        places: HashMap::new(),
        ready: VecDeque::new(),
    };
    follower.look().await?;
    let stream = stream::unfold(follower, async |mut follower| {
        let event = follower.next().await?;
        Some((Ok(event), follower))
    });
    Ok(Sse::new(stream).keep_alive(KeepAlive::default()))
}

/// What a reader has been told.
struct Follower {
    shared: Shared,
    user: UserId,
    news: watch::Receiver<()>,
    orders: HashMap<OrderId, (OrderStatus, Option<Payment>)>,
    places: HashMap<Uuid, Option<i64>>,
    ready: VecDeque<Event>,
}

impl Follower {
    /// The next event; none once the service stops.
    async fn next(&mut self) -> Option<Event> {
        loop {
            if let Some(event) = self.ready.pop_front() {
                return Some(event);
            }
            let tasks = self.shared.tasks.clone();
            tokio::select! {
                () = tasks.stopped() => return None,
                _ = timeout(jitter(LOOK_EVERY), self.news.changed()) => {}
            }
            if !tasks.pause(AT_ONCE).await {
                return None;
            }
            self.news.mark_unchanged();
            if let Err(error) = self.look().await {
                tracing::debug!(%error, "cannot look at a user's orders: {error}");
            }
        }
    }

    /// Gathers what has changed since the last look.
    async fn look(&mut self) -> Result<(), Error> {
        let filter = OrderFilter {
            user_id: Some(UserId::clone(&self.user)),
            limit: FOLLOWED_MAX,
            ..OrderFilter::default()
        };
        let orders = self.shared.store.orders(filter).await?;
        let places = self
            .shared
            .store
            .waiting_of(&self.user, FOLLOWED_MAX)
            .await?;
        // Oldest first, as it happened.
        for order in orders.into_iter().rev() {
            self.follow_order(&order);
        }
        let waits = |id: &Uuid| places.iter().any(|place| place.id == *id);
        let gone: Vec<Uuid> = self
            .places
            .keys()
            .filter(|id| !waits(id))
            .copied()
            .collect();
        for id in gone {
            self.places.remove(&id);
            if let Some(place) = self.shared.store.entry(id).await? {
                self.tell("waitlist", &place);
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
            self.tell("order", order);
        }
    }

    fn follow_place(&mut self, place: &WaitlistEntry) {
        if self.places.get(&place.id) != Some(&place.position) {
            self.places.insert(place.id, place.position);
            self.tell("waitlist", place);
        }
    }

    fn tell(&mut self, kind: &str, data: &impl Serialize) {
        if let Ok(event) = Event::default().event(kind).json_data(data) {
            self.ready.push_back(event);
        }
    }
}
