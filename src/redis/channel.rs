//! Redis publish/subscribe between nodes, with resubscription after a lost connection.

use std::time::Duration;

use fred::{
    clients::{Client, SubscriberClient},
    interfaces::{ClientLike, EventInterface, PubsubInterface},
};
use futures::future::join_all;
use serde::{Serialize, de::DeserializeOwned};
use tokio::sync::mpsc;

use super::Redis;
use crate::tasks::Tasks;

/// Pause before a new subscription after Redis or the listener's buffer failed.
const RESUBSCRIBE_AFTER: Duration = Duration::from_millis(200);

/// Messages that one pipeline takes at most, before they are coalesced.
const PIPELINE_MAX: usize = 1_024;

/// What a listener receives.
#[derive(Debug)]
pub enum ChannelEvent<T> {
    /// From now on every message arrives.
    Connected,
    Message(T),
    /// Messages may be lost until the next [`ChannelEvent::Connected`].
    Lost,
}

/// Publishes the messages of the outbox, until the service stops. Those that wait while others are
/// under way are coalesced by `coalesce` and sent in one pipeline.
pub async fn publish<T: Serialize>(
    redis: Client,
    channel: &'static str,
    mut outbox: mpsc::Receiver<T>,
    coalesce: fn(Vec<T>) -> Vec<T>,
    tasks: Tasks,
) {
    let redis = redis.with_options(&Redis::fail_fast());
    loop {
        let mut waiting = Vec::new();
        let received = tokio::select! {
            () = tasks.stopped() => return,
            received = outbox.recv_many(&mut waiting, PIPELINE_MAX) => received,
        };
        if received == 0 {
            return;
        }
        let messages = coalesce(waiting);
        let texts = messages.iter().flat_map(serde_json::to_string);
        // fred sends commands without waiting for the answers to earlier ones.
        let published = join_all(texts.map(|text| redis.publish::<(), _, _>(channel, text))).await;
        if let Some(Err(error)) = published.into_iter().find(Result::is_err) {
            tracing::debug!(%error, "cannot publish on {channel}: {error}");
        }
    }
}

/// Subscribes, and subscribes again after every loss: fred's listeners end for good when their
/// buffer overflows.
pub async fn listen<T: DeserializeOwned>(
    redis: SubscriberClient,
    channel: &'static str,
    handle: impl Fn(ChannelEvent<T>),
    tasks: Tasks,
) {
    loop {
        tokio::select! {
            () = tasks.stopped() => return,
            () = try_listen(&redis, channel, &handle) => handle(ChannelEvent::Lost),
        }
        if !tasks.pause(RESUBSCRIBE_AFTER).await {
            return;
        }
    }
}

async fn try_listen<T: DeserializeOwned>(
    redis: &SubscriberClient,
    channel: &'static str,
    handle: &impl Fn(ChannelEvent<T>),
) {
    let mut messages = redis.message_rx();
    let mut reconnected = redis.reconnect_rx();
    if redis.wait_for_connect().await.is_err() || redis.subscribe(channel).await.is_err() {
        return;
    }
    handle(ChannelEvent::Connected);
    loop {
        tokio::select! {
            message = messages.recv() => {
                let Ok(message) = message else { return };
                // One connection receives all channels.
                if &*message.channel != channel {
                    continue;
                }
                let text = message.value.into_string().unwrap_or_default();
                if let Ok(message) = serde_json::from_str(&text) {
                    handle(ChannelEvent::Message(message));
                }
            }
            // fred does not renew subscriptions after a reconnect.
            _ = reconnected.recv() => return,
        }
    }
}
