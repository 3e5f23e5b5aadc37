//! User events: publish/subscribe of "orders or places of this user changed", in process and
//! through Redis to other nodes.
//!
//! Events are hints without data: a subscriber reads the database, also periodically without an
//! event.

use std::{
    collections::{BTreeSet, HashMap},
    sync::Arc,
    time::Instant,
};

use parking_lot::Mutex;
use tokio::sync::{mpsc, watch};

use crate::{
    domain::UserId,
    redis::{
        Redis, USER_CHANNEL,
        channel::{self, ChannelEvent},
    },
    tasks::Tasks,
};

/// Lists of users waiting to be published to other nodes; further ones are dropped.
const OUTBOX_MAX: usize = 1_024;

/// Users of one message; a batch may change a thousand.
const USERS_MAX: usize = 1_000;

/// The subscribers of this node and the channel to the others; clones share it.
#[derive(Clone, Debug)]
pub struct UserEvents {
    subscribers: Arc<Mutex<HashMap<UserId, watch::Sender<Instant>>>>,
    outbox: Option<mpsc::Sender<Vec<UserId>>>,
}

impl UserEvents {
    /// With Redis, events reach the subscribers of other nodes too.
    pub fn new(redis: Option<&Redis>, tasks: &Tasks) -> Self {
        let mut events = Self {
            subscribers: Arc::default(),
            outbox: None,
        };
        if let Some(redis) = redis {
            let (outbox, inbox) = mpsc::channel(OUTBOX_MAX);
            events.outbox = Some(outbox);
            let commands = redis.commands.clone();
            let publisher =
                channel::publish(commands, USER_CHANNEL, inbox, each_once, tasks.clone());
            tasks.spawn("user event publisher", publisher);
            let (subscriber, receiver) = (redis.subscriber.clone(), events.clone());
            let handle = move |event: ChannelEvent<Vec<UserId>>| {
                if let ChannelEvent::Message(users) = event {
                    receiver.notify_local(&users);
                }
            };
            let listener = channel::listen(subscriber, USER_CHANNEL, handle, tasks.clone());
            tasks.spawn("user event listener", listener);
        }
        events
    }

    /// Notifies the subscribers of these users, here and on other nodes.
    pub fn publish(&self, users: Vec<UserId>) {
        if users.is_empty() {
            return;
        }
        self.notify_local(&users);
        if let Some(outbox) = &self.outbox
            && outbox.try_send(users).is_err()
        {
            tracing::debug!("user events dropped: the subscribers of other nodes poll instead");
        }
    }

    /// Notifies the subscribers of this node.
    fn notify_local(&self, users: &[UserId]) {
        let mut subscribers = self.subscribers.lock();
        for user in users {
            if let Some(subscriber) = subscribers.get(user)
                && subscriber.send(Instant::now()).is_err()
            {
                subscribers.remove(user);
            }
        }
    }

    /// Subscribes to a user from now on. The value is the time of the last event: a read that began
    /// later has seen its change.
    pub fn subscribe(&self, user: &UserId) -> watch::Receiver<Instant> {
        let mut subscribers = self.subscribers.lock();
        if let Some(subscriber) = subscribers.get(user) {
            return subscriber.subscribe();
        }
        subscribers.retain(|_, subscriber| subscriber.receiver_count() > 0);
        let (sender, receiver) = watch::channel(Instant::now());
        subscribers.insert(Arc::clone(user), sender);
        receiver
    }
}

/// Each user once, in messages of bounded size.
fn each_once(lists: Vec<Vec<UserId>>) -> Vec<Vec<UserId>> {
    let users: BTreeSet<UserId> = lists.into_iter().flatten().collect();
    let users: Vec<UserId> = users.into_iter().collect();
    users.chunks(USERS_MAX).map(<[UserId]>::to_vec).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_user_is_published_once() {
        let [ann, bob]: [UserId; 2] = ["ann", "bob"].map(Arc::from);
        let list = |users: &[&UserId]| users.iter().map(|user| Arc::clone(user)).collect();
        let lists = vec![list(&[&bob, &ann]), list(&[&ann])];
        assert_eq!(each_once(lists), [[ann, bob]]);
        assert!(each_once(Vec::new()).is_empty());
    }
}
