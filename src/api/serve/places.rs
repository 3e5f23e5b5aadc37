//! The places of a listener's connections.
//!
//! While all are taken, a new connection gets the place of one that waits for its client: for a
//! head, a body, the next request, or to be read. So connections whose clients do nothing never keep
//! a request out. Connections that are served, streams too, keep their places; then new ones wait.

use std::{
    collections::HashMap,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use parking_lot::Mutex;
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    time::timeout,
};

use super::{activity::Activity, signal::Signal};
use crate::metrics::connections::{Connections, Cut};

/// How long a new connection waits for a place to become free before one search for room, and
/// between two: in a burst of connections places soon become free by themselves.
const SEARCH_EVERY: Duration = Duration::from_millis(20);
/// One search makes room for this part of all places, so that a flood of connections causes few
/// searches.
const ROOM_PART: usize = 64;

#[derive(Debug)]
pub(super) struct Places {
    max: usize,
    free: Arc<Semaphore>,
    open: Mutex<HashMap<u64, Arc<Activity>, ahash::RandomState>>,
    next_id: AtomicU64,
    metrics: Connections,
}

/// A connection's place, free again when it is dropped.
#[derive(Debug)]
pub(super) struct Place {
    id: u64,
    activity: Arc<Activity>,
    places: Arc<Places>,
    /// `None` only if the semaphore was closed, which never happens.
    _permit: Option<OwnedSemaphorePermit>,
}

impl Places {
    pub(super) fn new(max: usize, metrics: Connections) -> Arc<Self> {
        Arc::new(Self {
            max,
            free: Arc::new(Semaphore::new(max)),
            open: Mutex::default(),
            next_id: AtomicU64::new(0),
            metrics,
        })
    }

    /// A place for a new connection; waits while every other connection is served.
    pub(super) async fn take(self: &Arc<Self>) -> Place {
        let permit = self.permit().await;
        let id = self.next_id.fetch_add(1, Ordering::Relaxed);
        let activity = Arc::new(Activity::new(Instant::now()));
        self.open.lock().insert(id, Arc::clone(&activity));
        self.metrics.open.increment(1);
        Place {
            id,
            activity,
            places: Arc::clone(self),
            _permit: permit,
        }
    }

    async fn permit(&self) -> Option<OwnedSemaphorePermit> {
        if let Ok(permit) = Arc::clone(&self.free).try_acquire_owned() {
            return Some(permit);
        }
        loop {
            let acquired = Arc::clone(&self.free).acquire_owned();
            if let Ok(permit) = timeout(SEARCH_EVERY, acquired).await {
                return permit.ok();
            }
            self.make_room(Instant::now());
        }
    }

    /// Closes connections that wait, those that have waited longest first.
    pub(super) fn make_room(&self, now: Instant) {
        let mut waiting: Vec<_> = {
            let open = self.open.lock();
            let yields = |activity: &Arc<Activity>| {
                let from = activity.yields_from().filter(|from| *from <= now)?;
                Some((from, Arc::clone(activity)))
            };
            open.values().filter_map(yields).collect()
        };
        waiting.sort_unstable_by_key(|(from, _)| *from);
        for (_, activity) in waiting.iter().take((self.max / ROOM_PART).max(1)) {
            self.close(activity, Cut::Evicted);
        }
    }

    /// Closes the connections whose head or next request has not come in time.
    pub(super) fn close_overdue(&self, now: Instant) {
        let overdue: Vec<_> = {
            let open = self.open.lock();
            let overdue = |activity: &Arc<Activity>| {
                let cut = activity.overdue(now)?;
                Some((cut, Arc::clone(activity)))
            };
            open.values().filter_map(overdue).collect()
        };
        for (cut, activity) in overdue {
            self.close(&activity, cut);
        }
    }

    /// Parks the connections that have been without a request for a while.
    pub(super) fn park_idle(&self, now: Instant) {
        for activity in self.open.lock().values() {
            if activity.is_idle(now) {
                activity.send(Signal::Park);
            }
        }
    }

    /// Tells all connections something, whatever they wait for.
    pub(super) fn send_all(&self, signal: Signal) {
        for activity in self.open.lock().values() {
            activity.send(signal);
        }
    }

    fn close(&self, activity: &Activity, cut: Cut) {
        self.metrics.cut(cut);
        activity.send(Signal::Close);
    }
}

impl Place {
    pub(super) fn activity(&self) -> &Arc<Activity> {
        &self.activity
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.places.open.lock().remove(&self.id);
        self.places.metrics.open.decrement(1);
    }
}
