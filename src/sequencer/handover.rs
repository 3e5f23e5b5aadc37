//! Fairness between nodes: a node that has just released knows the next lock key first, and would
//! win again and again while others wait into their patience.
//!
//! So a node that waits says so in Redis, and a node that writes looks meanwhile, and lets the
//! other go first. A hint only: without Redis the jitter of the waiting nodes has to do.

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

/// Does the work, and asks beside it; an answer that is not there when the work is done counts
/// as no, so that a silent Redis keeps nobody waiting.
pub(super) async fn meanwhile<T>(
    work: impl Future<Output = T>,
    question: impl Future<Output = bool>,
) -> (T, bool) {
    let mut question = pin!(question);
    let mut work = pin!(work);
    tokio::select! {
        done = &mut work => (done, false),
        answer = &mut question => (work.await, answer),
    }
}
