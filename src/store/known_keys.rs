//! SQL that finds which idempotency keys have made an order or a place.
//!
//! Hardly any key of a sale has, so a batch asks both tables with one statement and reads the rows
//! only of the keys that are known.

use std::sync::Arc;

use sea_orm::{ConnectionTrait, FromQueryResult};

use super::{Result, Transaction, UserKey};
use crate::domain::ProductId;

/// One probe of two indexes per pair. Two `IN` lists would probe every combination of user and key,
/// and a join is planned while a new table is small: it then reads all rows, however many there are.
/// The limits keep the planner from making a join of it.
///
/// Where a table, or a partition, was analyzed while it was empty, all its indexes cost the same, and
/// by another one than that of the keys the probe would read every row there is. So places are asked for
/// in the order of their keys, which only the index of the keys has; it is the table that stays empty
/// until a sale has a waitlist.
const KNOWN_POSTGRES: &str = "\
    SELECT asked.user_id, asked.key FROM unnest($2::text[], $3::text[]) AS asked (user_id, key) \
    CROSS JOIN LATERAL ( \
        (SELECT 1 FROM orders WHERE product_id = $1 AND user_id = asked.user_id \
            AND idempotency_key = asked.key LIMIT 1) \
        UNION ALL \
        (SELECT 1 FROM (SELECT idempotency_key FROM waitlist_entries WHERE product_id = $1 \
            AND user_id = asked.user_id AND idempotency_key >= asked.key \
            ORDER BY idempotency_key LIMIT 1) AS next WHERE next.idempotency_key = asked.key) \
        ) AS found";
const KNOWN_SQLITE: &str = "\
    SELECT asked.value ->> 0 AS user_id, asked.value ->> 1 AS key FROM json_each(?2) AS asked \
    WHERE EXISTS (SELECT 1 FROM orders WHERE product_id = ?1 AND user_id = asked.value ->> 0 \
            AND idempotency_key = asked.value ->> 1) \
        OR EXISTS (SELECT 1 FROM waitlist_entries WHERE product_id = ?1 \
            AND user_id = asked.value ->> 0 AND idempotency_key = asked.value ->> 1)";

#[derive(FromQueryResult)]
struct Known {
    user_id: String,
    key: String,
}

impl Transaction {
    /// Those of the users' keys that have made an order or a place of the product.
    pub async fn known_keys(&self, product: ProductId, keys: &[UserKey]) -> Result<Vec<UserKey>> {
        let statement = self.by_key(KNOWN_POSTGRES, KNOWN_SQLITE, product, keys);
        let rows = self.inner.query_all_raw(statement).await?;
        let known = rows.iter().map(|row| {
            let Known { user_id, key } = Known::from_query_result(row, "")?;
            Ok((Arc::from(user_id), key))
        });
        known.collect()
    }
}

#[cfg(test)]
mod tests {
    use super::KNOWN_SQLITE;
    use crate::store::sqlite_plans::assert_probes_each_key;

    #[tokio::test]
    async fn sqlite_probes_both_indexes_for_each_key() {
        assert_probes_each_key(KNOWN_SQLITE, 2).await;
    }
}
