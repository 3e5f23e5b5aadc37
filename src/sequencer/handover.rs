//! Fair handover of the lock between nodes.
//!
//! The last holder computes the next lock key first and would win every race, while other nodes
//! reach `LOCK_PATIENCE_MS`. Therefore a waiting node sets a short-lived key in Redis; a writing
//! node reads it in parallel and yields the next turn. The key is a hint: without an answer
//! from Redis, a node yields every few turns.

use std::{future::Future, pin::pin, time::Duration};

use fred::{
    interfaces::{ClientLike, KeysInterface},
    types::Expiration,
};

use crate::{
    domain::ProductId,
    redis::{Redis, waiting_key},
};

/// TTL of the "node is waiting" key, in milliseconds; refreshed while the node waits.
const WAITING_TTL_MS: i64 = 20;
/// Time limit for setting the key, so that an unresponsive Redis does not delay the next attempt.
const ANNOUNCE_TIMEOUT: Duration = Duration::from_millis(2);
/// Without an answer from Redis, a node yields one of this many turns.
const YIELD_EVERY: u32 = 4;

/// Announces to other nodes that this one waits for the product's lock.
pub(super) async fn announce_waiting(redis: Option<&Redis>, product: ProductId, node: &str) {
    let Some(redis) = redis else { return };
    let expiration = Some(Expiration::PX(WAITING_TTL_MS));
    let commands = redis.commands.with_options(&Redis::fail_fast());
    let set = commands.set::<(), _, _>(waiting_key(product), node, expiration, None, false);
    if let Ok(Err(error)) = tokio::time::timeout(ANNOUNCE_TIMEOUT, set).await {
        tracing::trace!(%error, "cannot announce that this node waits: {error}");
    }
}

/// Whether another node waits for the product's lock; `None` without an answer from Redis.
pub(super) async fn other_node_waits(
    redis: Option<&Redis>,
    product: ProductId,
    node: &str,
) -> Option<bool> {
    let Some(redis) = redis else {
        return Some(false);
    };
    let waiting: Result<Option<String>, _> = redis
        .commands
        .with_options(&Redis::fail_fast())
        .get(waiting_key(product))
        .await;
    Some(waiting.ok()?.is_some_and(|other| other != node))
}

/// Awaits the work, with the query in parallel. A later answer is ignored, so that an
/// unresponsive Redis delays nothing.
pub(super) async fn alongside<T>(
    work: impl Future<Output = T>,
    query: impl Future<Output = Option<bool>>,
) -> (T, Option<bool>) {
    let mut query = pin!(query);
    let mut work = pin!(work);
    tokio::select! {
        done = &mut work => (done, None),
        answer = &mut query => (work.await, answer),
    }
}

/// Counts the turns that a node takes without an answer from Redis.
#[derive(Debug, Default)]
pub(super) struct Turns(u32);

impl Turns {
    /// Whether this node yields its next turn, given the answer during the last one.
    pub(super) const fn yields_turn(&mut self, other_node_waits: Option<bool>) -> bool {
        if let Some(waits) = other_node_waits {
            self.0 = 0;
            return waits;
        }
        self.0 = (self.0 + 1) % YIELD_EVERY;
        self.0 == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_an_answer_a_node_yields_every_few_turns() {
        let mut turns = Turns::default();
        assert!(turns.yields_turn(Some(true)));
        assert!(!turns.yields_turn(Some(false)));
        let yields: Vec<bool> = (0..2 * YIELD_EVERY)
            .map(|_| turns.yields_turn(None))
            .collect();
        assert_eq!(yields.iter().filter(|yields| **yields).count(), 2);
        assert!(
            !yields[0],
            "yielding every turn would halve the sales of a single node"
        );
    }
}
