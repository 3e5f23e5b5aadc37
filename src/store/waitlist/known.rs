//! The places that idempotency keys stand for.

use std::{collections::HashMap, sync::Arc};

use entities::waitlist_entries::Entity;
use sea_orm::EntityTrait;

use super::{
    super::{Known, Remembered, Result, Transaction},
    entry,
};
use crate::domain::UserId;

const KNOWN_POSTGRES: &str = "\
    SELECT waitlist_entries.* FROM unnest($1::text[], $2::text[]) AS asked (user_id, key) \
    JOIN waitlist_entries ON waitlist_entries.user_id = asked.user_id \
        AND waitlist_entries.idempotency_key = asked.key";
const KNOWN_SQLITE: &str = "\
    SELECT waitlist_entries.* FROM json_each(?) AS asked \
    JOIN waitlist_entries ON waitlist_entries.user_id = asked.value ->> 0 \
        AND waitlist_entries.idempotency_key = asked.value ->> 1";

impl Transaction {
    /// The places that these users' keys stand for, whatever their product.
    pub async fn known_entries(
        &self,
        keys: &[(UserId, String)],
    ) -> Result<HashMap<(UserId, String), Known>> {
        let statement = self.pairs(KNOWN_POSTGRES, KNOWN_SQLITE, keys);
        let rows = Entity::find()
            .from_raw_sql(statement)
            .all(&self.inner)
            .await?;
        let places = self.places(&rows).await?;
        let known = rows.into_iter().filter_map(|mut row| {
            let key = row.idempotency_key.take()?;
            let request = row.idempotency_request.take().unwrap_or_default();
            let place = places.get(&row.position).copied();
            let answer = entry(row, place);
            let name = (Arc::clone(&answer.user_id), key);
            let answer = Remembered::Entry(answer);
            Some((name, Known { answer, request }))
        });
        Ok(known.collect())
    }
}
