//! The looks at the database that all event streams of a user on this node share.

use std::{
    collections::HashMap,
    sync::{Arc, Weak},
    time::{Duration, Instant},
};

use parking_lot::Mutex;
use uuid::Uuid;

use super::super::SharedState;
use crate::{
    domain::{Order, UserId, WaitlistEntry},
    store::{Error, OrderFilter},
};

/// The oldest look that a stream takes without a user event: Redis may be down.
pub(super) const POLL_EVERY: Duration = Duration::from_secs(3);
/// The same where a place may have moved up since, which causes no user event. A stream shows a
/// position within twice this time.
pub(super) const PLACES_EVERY: Duration = Duration::from_millis(400);
/// The newest orders and places of a user that a stream covers.
const FOLLOWED_MAX: u64 = 100;
/// Ended places that are kept for streams that have not taken them yet.
const ENDED_MAX: usize = 100;
/// Feeds at which unused ones are first removed.
const SWEEP_MIN: usize = 64;

/// The feeds of the users with open streams.
#[derive(Debug, Default)]
pub struct Feeds {
    feeds: Mutex<HashMap<UserId, Weak<Feed>>>,
}

/// A user's orders and places, as the last look found them.
#[derive(Debug)]
pub(super) struct Feed {
    user: UserId,
    last: tokio::sync::Mutex<Option<Arc<Look>>>,
}

#[derive(Debug)]
pub(super) struct Look {
    began: Instant,
    /// Newest first.
    pub(super) orders: Vec<Order>,
    /// Waiting entries, newest first.
    pub(super) places: Vec<WaitlistEntry>,
    /// Places that earlier looks saw waiting and that have ended, oldest first.
    pub(super) ended: Vec<WaitlistEntry>,
}

impl Feeds {
    /// The user's feed, which lives as long as its streams.
    pub(super) fn of(&self, user: &UserId) -> Arc<Feed> {
        let mut feeds = self.feeds.lock();
        if let Some(feed) = feeds.get(user).and_then(Weak::upgrade) {
            return feed;
        }
        // The map grows to twice its users before it is swept again, so a sweep costs little each.
        if feeds.len() >= SWEEP_MIN && feeds.len() == feeds.capacity() {
            feeds.retain(|_, feed| feed.strong_count() > 0);
        }
        let feed = Arc::new(Feed {
            user: Arc::clone(user),
            last: tokio::sync::Mutex::default(),
        });
        feeds.insert(Arc::clone(user), Arc::downgrade(&feed));
        feed
    }
}

impl Feed {
    /// A look that began at `since` or later and is not too old. Streams that come while one reads
    /// wait for it, and share it.
    pub(super) async fn look(
        &self,
        state: &SharedState,
        since: Instant,
    ) -> Result<Arc<Look>, Error> {
        let mut last = self.last.lock().await;
        if let Some(look) = last.as_ref()
            && look.began >= since
            && look.is_current(state)
        {
            return Ok(Arc::clone(look));
        }
        let look = Arc::new(self.read(state, last.as_deref()).await?);
        *last = Some(Arc::clone(&look));
        Ok(look)
    }

    async fn read(&self, state: &SharedState, before: Option<&Look>) -> Result<Look, Error> {
        let began = Instant::now();
        let filter = OrderFilter {
            user_id: Some(UserId::clone(&self.user)),
            limit: FOLLOWED_MAX,
            ..OrderFilter::default()
        };
        let orders = state.store.orders(filter).await?;
        let places = state.store.waiting_entries(&self.user, FOLLOWED_MAX);
        let places = places.await?;
        let mut ended = before.map_or_else(Vec::new, |before| before.ended.clone());
        if let Some(before) = before {
            let waits = |id: Uuid| places.iter().any(|place| place.id == id);
            let gone = before.places.iter().map(|place| place.id);
            let gone: Vec<_> = gone.filter(|id| !waits(*id)).collect();
            ended.extend(state.store.entries(gone).await?);
        }
        ended.drain(..ended.len().saturating_sub(ENDED_MAX));
        Ok(Look {
            began,
            orders,
            places,
            ended,
        })
    }
}

impl Look {
    fn is_current(&self, state: &SharedState) -> bool {
        let age = self.began.elapsed();
        age < PLACES_EVERY || (age < POLL_EVERY && !self.may_have_moved(state))
    }

    /// Whether a place may have moved up since: every change of a waitlist is a stock event too.
    fn may_have_moved(&self, state: &SharedState) -> bool {
        let events = &state.stock_events;
        let changed = |place: &WaitlistEntry| events.changed_since(place.product_id, self.began);
        !self.places.is_empty()
            && (events.connected_since().is_none() || self.places.iter().any(changed))
    }
}
