//! Lua scripts in Redis: loaded once (`SCRIPT LOAD`), then run by their hash (`EVALSHA`).
//!
//! fred's own script calls take no options, so they would wait while Redis is disconnected.

use std::{sync::OnceLock, time::Duration};

use fred::{
    error::Error,
    interfaces::ClientLike,
    types::{ClusterHash, CustomCommand, FromValue, Value},
};

use super::Redis;

/// A script and, once it is loaded, its hash.
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

    /// Runs it in one round trip, or in two if Redis has lost it. In a cluster all `keys` share a
    /// slot.
    ///
    /// # Errors
    /// When Redis is disconnected, or takes longer than `within`.
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
        let input = Input { keys, arguments };
        let answer = call(redis, "EVALSHA", hash, &input, within).await;
        match answer {
            Err(error) if error.details().starts_with("NOSCRIPT") => {
                call(redis, "EVAL", self.text, &input, within).await
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

/// The input of a script.
struct Input {
    keys: Vec<String>,
    arguments: Vec<Value>,
}

async fn call<R: FromValue>(
    redis: &Redis,
    command: &'static str,
    script: &str,
    input: &Input,
    within: Duration,
) -> Result<R, Error> {
    let Input { keys, arguments } = input;
    let count = i64::try_from(keys.len()).unwrap_or(i64::MAX);
    let mut words = Vec::with_capacity(2 + keys.len() + arguments.len());
    words.push(Value::from(script));
    words.push(Value::from(count));
    words.extend(keys.iter().map(Value::from));
    words.extend(arguments.iter().cloned());
    // fred ignores the position of a key (`ClusterHash::Offset`) in a command of its user, and would
    // take the hash of the script for the key.
    let slot = keys
        .first()
        .map_or(ClusterHash::Random, |key| key.as_str().into());
    let command = CustomCommand::new_static(command, slot, false);
    let redis = redis.commands.with_options(&Redis::fail_within(within));
    redis.custom(command, words).await
}
