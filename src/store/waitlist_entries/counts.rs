//! SQL for `waitlist_counts`: the lengths of several waitlists at once.

use std::collections::HashMap;

use sea_orm::{ConnectionTrait, DbBackend, Statement, Value};

use super::super::{Result, Store, padded};
use crate::domain::ProductId;

impl Store {
    /// The number of waiting entries by product; products without any are left out. Reads the
    /// largest counted blocks: a row for 16 million positions.
    pub async fn waiting_counts(&self, ids: Vec<ProductId>) -> Result<HashMap<ProductId, i64>> {
        if ids.is_empty() {
            return Ok(HashMap::new());
        }
        let backend = if self.is_postgres() {
            DbBackend::Postgres
        } else {
            DbBackend::Sqlite
        };
        let ids: Vec<Value> = padded(ids).into_iter().map(Value::from).collect();
        let places: Vec<String> = (1..=ids.len()).map(|place| format!("${place}")).collect();
        let sql = format!(
            "SELECT product_id, SUM(waiting) FROM waitlist_counts \
             WHERE level = 3 AND product_id IN ({}) GROUP BY product_id",
            places.join(", ")
        );
        let statement = || Statement::from_sql_and_values(backend, &sql, ids.clone());
        let rows = self
            .bounded(|| self.read.query_all_raw(statement()))
            .await?;
        let counts = rows
            .iter()
            .map(|row| Ok((row.try_get_by_index(0)?, row.try_get_by_index(1)?)));
        Ok(counts.collect::<std::result::Result<_, sea_orm::DbErr>>()?)
    }
}
