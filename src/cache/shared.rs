//! The part of the cache that nodes share: products in Redis, each for half a second.

use std::time::Duration;

use crate::{
    domain::{Product, ProductId},
    redis::{Redis, product_key, script::Script},
};

static READ: Script = Script::new(include_str!("read.lua"));
static FILL: Script = Script::new(include_str!("fill.lua"));

/// How long a value lives, from just before it was read from the database.
const LIVES: Duration = Duration::from_millis(500);
/// A Redis that takes longer is slower than the database.
const WITHIN: Duration = Duration::from_millis(20);

/// What Redis said of a product.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) product: Option<Product>,
    /// Redis's time, in milliseconds.
    at: String,
}

/// None when Redis does not answer.
pub(super) async fn read(redis: &Redis, id: ProductId) -> Option<Answer> {
    let answer = READ
        .run(redis, vec![product_key(id)], Vec::new(), WITHIN)
        .await;
    let (value, at): (Option<String>, String) = answer.ok()?;
    let product = value.and_then(|value| {
        let (_, json) = value.split_once(' ')?;
        serde_json::from_str(json).ok()
    });
    Some(Answer { product, at })
}

/// Keeps what was read after Redis had given `answer`.
pub(super) async fn fill(redis: Redis, product: Product, answer: Answer) {
    let Ok(json) = serde_json::to_string(&product) else {
        return;
    };
    let arguments = vec![
        product.version.into(),
        json.into(),
        answer.at.into(),
        i64::try_from(LIVES.as_millis()).unwrap_or(0).into(),
    ];
    let keys = vec![product_key(product.id)];
    let filled: Result<i64, _> = FILL.run(&redis, keys, arguments, WITHIN).await;
    if let Err(error) = filled {
        tracing::trace!(%error, "cannot share a product: {error}");
    }
}
