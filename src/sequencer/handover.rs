//! Fairness between nodes: a node that has just released knows the next lock key first, and would
//! win again and again while others wait into their patience.
//!
//! So a node that waits says so in Redis, and a node that writes looks meanwhile, and lets the
//! other go first. A hint only: without Redis the jitter of the waiting nodes has to do.

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

/// Says that this node waits for the product.
pub(super) async fn wait(redis: Option<&Redis>, product: ProductId, node: &str) {
    let Some(redis) = redis else { return };
    let expiration = Some(Expiration::PX(WAITING_MS));
    let said: Result<(), _> = redis
        .commands
        .with_options(&Redis::fail_fast())
        .set(waiting_key(product), node, expiration, None, false)
        .await;
    if let Err(error) = said {
        tracing::trace!(%error, "cannot say that this node waits: {error}");
    }
}

/// Whether another node waits for the product.
pub(super) async fn somebody_waits(redis: Option<&Redis>, product: ProductId, node: &str) -> bool {
    let Some(redis) = redis else { return false };
    let waiting: Result<Option<String>, _> = redis
        .commands
        .with_options(&Redis::fail_fast())
        .get(waiting_key(product))
        .await;
    waiting.is_ok_and(|waiting| waiting.is_some_and(|other| other != node))
}
