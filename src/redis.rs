//! Redis client (fred) for everything but the lock; all names of keys and channels, the lock's too.
//!
//! Redis may be down: commands fail fast, every caller has a fallback, and fred reconnects.

use std::time::Duration;

use fred::{
    clients::{Client, SubscriberClient},
    interfaces::ClientLike,
    types::{
        Builder,
        config::{Config, Options, ReconnectPolicy, UnresponsiveConfig},
    },
};

use crate::domain::{ProductId, Secret};

pub mod channel;
pub mod script;

/// Time limit of a command.
const COMMAND_TIMEOUT: Duration = Duration::from_millis(250);
const CONNECT_TIMEOUT: Duration = Duration::from_secs(1);
const RECONNECT_MIN_MS: u32 = 50;
const RECONNECT_MAX_MS: u32 = 1_000;
/// Commands that may wait for a connection; further ones are refused.
const BUFFER_MAX: usize = 10_000;

/// The channel of stock events between nodes.
pub const STOCK_CHANNEL: &str = "flash-sale:stock";

/// The channel of user events between nodes.
pub const USER_CHANNEL: &str = "flash-sale:news";

/// The channel of monitor reports between nodes.
pub const MONITOR_CHANNEL: &str = "flash-sale:monitor";

/// The lock of a product at a stock level, which is the units on hand. Operators and tests rely on
/// this name.
pub fn lock_key(product: ProductId, on_hand: i32) -> String {
    format!("lock:product:{product}:stock:{on_hand}")
}

/// Set while a node waits for the product's lock; the holder then yields a turn.
pub fn waiting_key(product: ProductId) -> String {
    format!("flash-sale:waiting:{product}")
}

/// A user's rate limit. The braces place all users in one slot of a cluster, so that one script
/// serves many of them.
pub fn rate_key(user: &str) -> String {
    format!("flash-sale:{{rate}}:{user}")
}

/// A user's rate limit of confirmations.
pub fn confirmation_rate_key(user: &str) -> String {
    format!("flash-sale:{{confirmation-rate}}:{user}")
}

/// The nodes that count the rate limits together.
pub const NODES_KEY: &str = "flash-sale:nodes";

/// A cached product.
pub fn product_key(product: ProductId) -> String {
    format!("flash-sale:product:{product}")
}

/// One connection for commands, one for subscriptions.
#[derive(Clone, Debug)]
pub struct Redis {
    pub commands: Client,
    pub subscriber: SubscriberClient,
}

impl Redis {
    /// Starts to connect; fred retries in the background.
    pub fn connect(url: &Secret) -> Result<Self, fred::error::Error> {
        let config = Config::from_url(url.expose())?;
        let mut builder = Builder::from_config(config);
        builder
            .set_policy(ReconnectPolicy::new_exponential(
                0,
                RECONNECT_MIN_MS,
                RECONNECT_MAX_MS,
                2,
            ))
            .with_performance_config(|performance| {
                performance.default_command_timeout = COMMAND_TIMEOUT;
            })
            .with_connection_config(|connection| {
                connection.connection_timeout = CONNECT_TIMEOUT;
                connection.internal_command_timeout = CONNECT_TIMEOUT;
                connection.max_command_attempts = 1;
                connection.max_command_buffer_len = BUFFER_MAX;
                connection.tcp.nodelay = Some(true);
                connection.unresponsive = UnresponsiveConfig {
                    max_timeout: Some(Duration::from_secs(2)),
                    interval: Duration::from_secs(1),
                };
            });
        let redis = Self {
            commands: builder.build()?,
            subscriber: builder.build_subscriber_client()?,
        };
        drop(redis.commands.connect());
        drop(redis.subscriber.connect());
        Ok(redis)
    }

    /// Options of a command that fails at once while Redis is disconnected.
    pub fn fail_fast() -> Options {
        Self::fail_within(COMMAND_TIMEOUT)
    }

    /// [`Self::fail_fast`] with another time limit.
    pub fn fail_within(timeout: Duration) -> Options {
        Options {
            fail_fast: true,
            max_attempts: Some(1),
            timeout: Some(timeout),
            ..Options::default()
        }
    }

    /// Whether both connections work: the one for commands answers, and subscriptions are open.
    pub async fn answers(&self) -> bool {
        let commands = self.commands.with_options(&Self::fail_fast());
        commands.ping::<()>(None).await.is_ok() && self.subscriber.is_connected()
    }

    pub async fn close(&self) {
        drop(self.commands.quit().await);
        drop(self.subscriber.quit().await);
    }
}
