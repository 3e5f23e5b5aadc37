//! What concerns single users: their orders and places that changed without their asking.
//!
//! A hint, never the truth: who is told looks at the database. Told at once on this node, through
//! Redis on the others; readers also look by themselves now and then.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use fred::{
    clients::{Client, SubscriberClient},
    interfaces::{ClientLike, EventInterface, PubsubInterface},
};
use tokio::sync::{mpsc, watch};

use crate::{
    domain::UserId,
    redis::{NEWS_CHANNEL, Redis},
    tasks::Tasks,
};

/// Batches of users that wait to be told to other nodes; the next ones are dropped.
const OUTBOX_MAX: usize = 1_024;
/// Pause before listening anew after Redis or the listener's buffer failed.
const LISTEN_AGAIN: Duration = Duration::from_millis(200);

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
            tasks.spawn("news publisher", publish(commands, inbox, tasks.clone()));
            let subscriber = redis.subscriber.clone();
            let listener = listen(subscriber, news.clone(), tasks.clone());
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

async fn publish(redis: Client, mut inbox: mpsc::Receiver<Vec<UserId>>, tasks: Tasks) {
    loop {
        let users = tokio::select! {
            () = tasks.stopped() => return,
            users = inbox.recv() => users,
        };
        let Some(users) = users else { return };
        let users: Vec<&str> = users.iter().map(|user| &**user).collect();
        let Ok(text) = serde_json::to_string(&users) else {
            continue;
        };
        let told: Result<(), _> = redis
            .with_options(&Redis::fail_fast())
            .publish(NEWS_CHANNEL, text)
            .await;
        if let Err(error) = told {
            tracing::debug!(%error, "news not published: {error}");
        }
    }
}

/// Subscribes again and again: fred's listeners end for good when their buffer overflows.
async fn listen(redis: SubscriberClient, news: News, tasks: Tasks) {
    loop {
        tokio::select! {
            () = tasks.stopped() => return,
            () = try_listen(&redis, &news) => {}
        }
        if !tasks.pause(LISTEN_AGAIN).await {
            return;
        }
    }
}

async fn try_listen(redis: &SubscriberClient, news: &News) {
    let mut messages = redis.message_rx();
    let mut reconnected = redis.reconnect_rx();
    if redis.wait_for_connect().await.is_err() || redis.subscribe(NEWS_CHANNEL).await.is_err() {
        return;
    }
    loop {
        tokio::select! {
            message = messages.recv() => {
                let Ok(message) = message else { return };
                if &*message.channel != NEWS_CHANNEL {
                    continue;
                }
                let text = message.value.into_string().unwrap_or_default();
                if let Ok(users) = serde_json::from_str::<Vec<String>>(&text) {
                    let users: Vec<_> = users.into_iter().map(UserId::from).collect();
                    news.tell(&users);
                }
            }
            // Subscriptions do not survive a reconnect by themselves.
            _ = reconnected.recv() => return,
        }
    }
}
