//! A channel between nodes: what is put into an outbox reaches every node that listens, unless
//! Redis is away.

use std::time::Duration;

use fred::{
    clients::{Client, SubscriberClient},
    interfaces::{ClientLike, EventInterface, PubsubInterface},
};
use serde::{Serialize, de::DeserializeOwned};
use tokio::sync::mpsc;

use super::Redis;
use crate::tasks::Tasks;

/// Pause before listening anew after Redis or the listener's buffer failed.
const LISTEN_AGAIN: Duration = Duration::from_millis(200);

/// What a listener notices.
#[derive(Debug)]
pub enum Heard<T> {
    /// From now on every word is heard.
    Connected,
    Word(T),
    /// Words may be missed until the next [`Heard::Connected`].
    Lost,
}

/// Publishes what comes out of the outbox, until the service stops.
pub async fn publish<T: Serialize>(
    redis: Client,
    channel: &'static str,
    mut outbox: mpsc::Receiver<T>,
    tasks: Tasks,
) {
    loop {
        let word = tokio::select! {
            () = tasks.stopped() => return,
            word = outbox.recv() => word,
        };
        let Some(word) = word else { return };
        let Ok(text) = serde_json::to_string(&word) else {
            continue;
        };
        let told: Result<(), _> = redis
            .with_options(&Redis::fail_fast())
            .publish(channel, text)
            .await;
        if let Err(error) = told {
            tracing::debug!(%error, "not published on {channel}: {error}");
        }
    }
}

/// Subscribes again and again: fred's listeners end for good when their buffer overflows.
pub async fn listen<T: DeserializeOwned>(
    redis: SubscriberClient,
    channel: &'static str,
    hear: impl Fn(Heard<T>),
    tasks: Tasks,
) {
    loop {
        tokio::select! {
            () = tasks.stopped() => return,
            () = try_listen(&redis, channel, &hear) => hear(Heard::Lost),
        }
        if !tasks.pause(LISTEN_AGAIN).await {
            return;
        }
    }
}

async fn try_listen<T: DeserializeOwned>(
    redis: &SubscriberClient,
    channel: &'static str,
    hear: &impl Fn(Heard<T>),
) {
    let mut messages = redis.message_rx();
    let mut reconnected = redis.reconnect_rx();
    if redis.wait_for_connect().await.is_err() || redis.subscribe(channel).await.is_err() {
        return;
    }
    hear(Heard::Connected);
    loop {
        tokio::select! {
            message = messages.recv() => {
                let Ok(message) = message else { return };
                // One connection hears all channels.
                if &*message.channel != channel {
                    continue;
                }
                let text = message.value.into_string().unwrap_or_default();
                if let Ok(word) = serde_json::from_str(&text) {
                    hear(Heard::Word(word));
                }
            }
            // Subscriptions do not survive a reconnect by themselves.
            _ = reconnected.recv() => return,
        }
    }
}
