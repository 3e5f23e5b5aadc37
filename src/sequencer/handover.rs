//! Fairness between nodes: a node that has just released knows the next lock key first, and would
//! win again and again while others wait into their patience.
//!
//! So a node that waits says so in Redis, and a node that writes looks meanwhile, and lets the
//! other go first. A hint only: where Redis does not say, a node lets the others go first every few
//! turns.

use std::{future::Future, pin::pin, time::Duration};

use fred::{
    interfaces::{ClientLike, KeysInterface},
    types::Expiration,
};

use crate::{
    domain::ProductId,
    redis::{Redis, waiting_key},
};

/// How long a node's word that it waits holds; it is renewed while it is true.
const WAITING_MS: i64 = 20;
/// Saying it must not take longer: a Redis that fell silent is no reason to wait.
const SAY_WITHIN: Duration = Duration::from_millis(2);
/// After so many turns a node lets others go first, while Redis does not say whether any wait.
const UNKNOWING: u32 = 4;

/// Says that this node waits for the product.
pub(super) async fn wait(redis: Option<&Redis>, product: ProductId, node: &str) {
    let Some(redis) = redis else { return };
    let expiration = Some(Expiration::PX(WAITING_MS));
    let commands = redis.commands.with_options(&Redis::fail_fast());
    let say = commands.set::<(), _, _>(waiting_key(product), node, expiration, None, false);
    if let Ok(Err(error)) = tokio::time::timeout(SAY_WITHIN, say).await {
        tracing::trace!(%error, "cannot say that this node waits: {error}");
    }
}

/// Whether another node waits for the product; nothing where Redis does not say.
pub(super) async fn somebody_waits(
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

/// Does the work, and asks beside it; there is no answer if it is not there when the work is done,
/// so that a silent Redis keeps nobody waiting.
pub(super) async fn meanwhile<T>(
    work: impl Future<Output = T>,
    question: impl Future<Output = Option<bool>>,
) -> (T, Option<bool>) {
    let mut question = pin!(question);
    let mut work = pin!(work);
    tokio::select! {
        done = &mut work => (done, None),
        answer = &mut question => (work.await, answer),
    }
}

/// Counts the turns that a node takes without knowing whether others wait.
#[derive(Debug, Default)]
pub(super) struct Turns(u32);

impl Turns {
    /// Whether others go first now, after a turn in which Redis said whether anybody waits.
    pub(super) const fn others_first(&mut self, somebody_waits: Option<bool>) -> bool {
        if let Some(waits) = somebody_waits {
            self.0 = 0;
            return waits;
        }
        self.0 = (self.0 + 1) % UNKNOWING;
        self.0 == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_does_not_know_lets_others_go_first_now_and_then() {
        let mut turns = Turns::default();
        assert!(turns.others_first(Some(true)));
        assert!(!turns.others_first(Some(false)));
        let asked: Vec<bool> = (0..2 * UNKNOWING)
            .map(|_| turns.others_first(None))
            .collect();
        assert_eq!(asked.iter().filter(|first| **first).count(), 2);
        assert!(!asked[0], "every turn would halve what a lone node sells");
    }
}
