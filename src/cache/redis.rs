//! The cache tier in Redis, shared by all nodes: caches each product for half a second.

use std::time::Duration;

use crate::{
    domain::{Product, ProductId},
    redis::{Redis, product_key, script::Script},
};

static READ: Script = Script::new(include_str!("read.lua"));
static FILL: Script = Script::new(include_str!("fill.lua"));

/// TTL of a value, from just before it was read from the database.
const TTL: Duration = Duration::from_millis(500);
/// Time limit of a call; beyond it the database is faster.
const TIMEOUT: Duration = Duration::from_millis(20);

/// Redis's answer to a read.
#[derive(Debug)]
pub(super) struct CacheRead {
    pub(super) product: Option<Product>,
    /// Redis's time, in milliseconds.
    at: String,
}

/// `None` when Redis does not answer.
pub(super) async fn read(redis: &Redis, id: ProductId) -> Option<CacheRead> {
    let answer = READ
        .run(redis, vec![product_key(id)], Vec::new(), TIMEOUT)
        .await;
    let (value, at): (Option<String>, String) = answer.ok()?;
    let product = value.and_then(|value| {
        let (_, json) = value.split_once(' ')?;
        serde_json::from_str(json).ok()
    });
    Some(CacheRead { product, at })
}

/// Stores a product that was read from the database after Redis had returned `answer`.
pub(super) async fn fill(redis: Redis, product: Product, answer: CacheRead) {
    let Ok(json) = serde_json::to_string(&product) else {
        return;
    };
    let arguments = vec![
        product.version.into(),
        json.into(),
        answer.at.into(),
        i64::try_from(TTL.as_millis()).unwrap_or(0).into(),
    ];
    let keys = vec![product_key(product.id)];
    let filled: Result<i64, _> = FILL.run(&redis, keys, arguments, TIMEOUT).await;
    if let Err(error) = filled {
        tracing::trace!(%error, "cannot cache a product in Redis: {error}");
    }
}
