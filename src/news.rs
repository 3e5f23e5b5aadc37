//! What concerns single users: their orders and places that changed without their asking.
//!
//! A hint, never the truth: who is told looks at the database. Told at once on this node, through
//! Redis on the others; readers also look by themselves now and then.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
};

use tokio::sync::{mpsc, watch};

use crate::{
    domain::UserId,
    redis::{
        NEWS_CHANNEL, Redis,
        channel::{self, Heard},
    },
    tasks::Tasks,
};

/// Batches of users that wait to be told to other nodes; the next ones are dropped.
const OUTBOX_MAX: usize = 1_024;

/// The readers of this node and the way to the others; clones share it.
#[derive(Clone, Debug)]
pub struct News {
    readers: Arc<Mutex<HashMap<UserId, watch::Sender<()>>>>,
    outbox: Option<mpsc::Sender<Vec<UserId>>>,
}

impl News {
    /// With Redis, the other nodes' readers hear too.
    pub fn new(redis: Option<&Redis>, tasks: &Tasks) -> Self {
        let mut news = Self {
            readers: Arc::default(),
            outbox: None,
        };
        if let Some(redis) = redis {
            let (outbox, inbox) = mpsc::channel(OUTBOX_MAX);
            news.outbox = Some(outbox);
            let commands = redis.commands.clone();
            let publisher = channel::publish(commands, NEWS_CHANNEL, inbox, tasks.clone());
            tasks.spawn("news publisher", publisher);
            let (subscriber, heard) = (redis.subscriber.clone(), news.clone());
            let hear = move |word: Heard<Vec<UserId>>| {
                if let Heard::Word(users) = word {
                    heard.tell(&users);
                }
            };
            let listener = channel::listen(subscriber, NEWS_CHANNEL, hear, tasks.clone());
            tasks.spawn("news listener", listener);
        }
        news
    }

    /// Something of these users has changed.
    pub fn concerns(&self, users: Vec<UserId>) {
        if users.is_empty() {
            return;
        }
        self.tell(&users);
        if let Some(outbox) = &self.outbox
            && outbox.try_send(users).is_err()
        {
            tracing::debug!("too much news at once: other nodes' readers look by themselves");
        }
    }

    /// Tells readers on this node.
    pub fn tell(&self, users: &[UserId]) {
        let mut readers = self.readers.lock().unwrap_or_else(PoisonError::into_inner);
        for user in users {
            if let Some(reader) = readers.get(user)
                && reader.send(()).is_err()
            {
                readers.remove(user);
            }
        }
    }

    /// Reads what concerns the user from now on.
    pub fn read(&self, user: &UserId) -> watch::Receiver<()> {
        let mut readers = self.readers.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(reader) = readers.get(user) {
            return reader.subscribe();
        }
        readers.retain(|_, reader| reader.receiver_count() > 0);
        let (reader, news) = watch::channel(());
        readers.insert(Arc::clone(user), reader);
        news
    }
}
