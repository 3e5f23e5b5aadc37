//! SQL for `waitlist_entries`: lookup by idempotency key.

use std::{collections::HashMap, sync::Arc};

use entities::waitlist_entries::Entity;
use sea_orm::EntityTrait;

use super::{
    super::{IdempotencyRecord, Recorded, Result, Transaction, UserKey},
    entry,
};
use crate::domain::ProductId;

/// One index probe per pair, as for orders, in the order that `store/known_keys.rs` explains.
const BY_KEY_POSTGRES: &str = "\
    SELECT found.* FROM unnest($2::text[], $3::text[]) AS asked (user_id, key) \
    CROSS JOIN LATERAL (SELECT * FROM waitlist_entries WHERE product_id = $1 \
        AND user_id = asked.user_id AND idempotency_key >= asked.key \
        ORDER BY idempotency_key LIMIT 1) AS found \
    WHERE found.idempotency_key = asked.key";
const BY_KEY_SQLITE: &str = "\
    SELECT waitlist_entries.* FROM json_each(?2) AS asked \
    CROSS JOIN waitlist_entries ON waitlist_entries.product_id = ?1 \
        AND waitlist_entries.user_id = asked.value ->> 0 \
        AND waitlist_entries.idempotency_key = asked.value ->> 1";

impl Transaction {
    /// The entries of the product that these users' keys made, without their positions.
    pub async fn entries_by_key(
        &self,
        product: ProductId,
        keys: &[UserKey],
    ) -> Result<HashMap<UserKey, IdempotencyRecord>> {
        let statement = self.by_key(BY_KEY_POSTGRES, BY_KEY_SQLITE, product, keys);
        let rows = Entity::find()
            .from_raw_sql(statement)
            .all(&self.inner)
            .await?;
        let records = rows.into_iter().filter_map(|mut row| {
            let key = row.idempotency_key.take()?;
            let request = row.idempotency_request.take().unwrap_or_default();
            let answer = entry(row, None);
            let name = (Arc::clone(&answer.user_id), key);
            let answer = Recorded::Entry(answer);
            Some((name, IdempotencyRecord { answer, request }))
        });
        Ok(records.collect())
    }
}

#[cfg(test)]
mod tests {
    use super::BY_KEY_SQLITE;
    use crate::store::sqlite_plans::assert_probes_each_key;

    #[tokio::test]
    async fn sqlite_probes_the_index_for_each_key() {
        assert_probes_each_key(BY_KEY_SQLITE, 1).await;
    }
}
