//! Scripts that Redis runs: sent once, named by their hash from then on.
//!
//! fred's own script calls take no options, and without them a command waits while Redis is away.

use std::{sync::OnceLock, time::Duration};

use fred::{
    error::Error,
    interfaces::ClientLike,
    types::{ClusterHash, CustomCommand, FromValue, Value},
};

use super::Redis;

/// A script and, once Redis has named it, its hash.
#[derive(Debug)]
pub struct Script {
    text: &'static str,
    hash: OnceLock<String>,
}

impl Script {
    pub const fn new(text: &'static str) -> Self {
        Self {
            text,
            hash: OnceLock::new(),
        }
    }

    /// Runs it in one round trip, or two where Redis does not know it (any more). In a cluster all
    /// `keys` share a slot.
    ///
    /// # Errors
    /// When Redis is away, or took longer than `within`.
    pub async fn run<R: FromValue>(
        &self,
        redis: &Redis,
        keys: Vec<String>,
        arguments: Vec<Value>,
        within: Duration,
    ) -> Result<R, Error> {
        let hash = match self.hash.get() {
            Some(hash) => hash,
            None => self.load(redis, within).await?,
        };
        let answer = call(redis, "EVALSHA", hash, (&keys, &arguments), within).await;
        match answer {
            Err(error) if error.details().starts_with("NOSCRIPT") => {
                call(redis, "EVAL", self.text, (&keys, &arguments), within).await
            }
            answer => answer,
        }
    }

    async fn load(&self, redis: &Redis, within: Duration) -> Result<&str, Error> {
        let command = CustomCommand::new_static("SCRIPT", ClusterHash::Random, false);
        let redis = redis.commands.with_options(&Redis::fail_within(within));
        let hash: String = redis.custom(command, vec!["LOAD", self.text]).await?;
        Ok(self.hash.get_or_init(|| hash))
    }
}

async fn call<R: FromValue>(
    redis: &Redis,
    command: &'static str,
    script: &str,
    (keys, arguments): (&[String], &[Value]),
    within: Duration,
) -> Result<R, Error> {
    let count = i64::try_from(keys.len()).unwrap_or(i64::MAX);
    let mut words = Vec::with_capacity(2 + keys.len() + arguments.len());
    words.push(Value::from(script));
    words.push(Value::from(count));
    words.extend(keys.iter().map(Value::from));
    words.extend(arguments.iter().cloned());
    // The first key stands behind the script and the number of keys.
    let command = CustomCommand::new_static(command, ClusterHash::Offset(2), false);
    let redis = redis.commands.with_options(&Redis::fail_within(within));
    redis.custom(command, words).await
}
