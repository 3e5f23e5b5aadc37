//! SQL for `waitlist_entries`: lookup by idempotency key.

use std::{collections::HashMap, sync::Arc};

use entities::waitlist_entries::Entity;
use sea_orm::EntityTrait;

use super::{
    super::{IdempotencyRecord, Recorded, Result, Transaction, UserKey},
    entry,
};

const BY_KEY_POSTGRES: &str = "\
    SELECT waitlist_entries.* FROM unnest($1::text[], $2::text[]) AS asked (user_id, key) \
    JOIN waitlist_entries ON waitlist_entries.user_id = asked.user_id \
        AND waitlist_entries.idempotency_key = asked.key";
const BY_KEY_SQLITE: &str = "\
    SELECT waitlist_entries.* FROM json_each(?) AS asked \
    JOIN waitlist_entries ON waitlist_entries.user_id = asked.value ->> 0 \
        AND waitlist_entries.idempotency_key = asked.value ->> 1";

impl Transaction {
    /// The entries that these users' keys made, for any product, without their positions.
    pub async fn entries_by_key(
        &self,
        keys: &[UserKey],
    ) -> Result<HashMap<UserKey, IdempotencyRecord>> {
        let statement = self.pairs(BY_KEY_POSTGRES, BY_KEY_SQLITE, keys);
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
