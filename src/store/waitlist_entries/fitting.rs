//! SQL for `waitlist_entries`: the first entries that a number of units could serve, for products
//! with `waitlist_skip`.

use entities::waitlist_entries::Entity;
use sea_orm::{DbBackend, EntityTrait, Statement};

use super::{
    super::{Result, Transaction},
    Queued,
};
use crate::domain::ProductId;

/// Reads the sizes that wait, one index probe each, and the first entries of each size. A query in
/// the order of the queue would read all of it where nearly every entry wants more units. The order
/// by size and position is one that only the index by size has; with an equality the planner took
/// the primary key, and read entries of every size.
const FITTING_POSTGRES: &str = "\
    WITH RECURSIVE sizes AS ( \
        SELECT MIN(quantity) AS quantity FROM waitlist_entries \
            WHERE product_id = $1 AND status = 'waiting' \
        UNION ALL SELECT (SELECT MIN(quantity) FROM waitlist_entries \
            WHERE product_id = $1 AND status = 'waiting' AND quantity > sizes.quantity) \
            FROM sizes WHERE sizes.quantity < $2) \
    SELECT entries.* FROM sizes CROSS JOIN LATERAL (SELECT * FROM waitlist_entries \
        WHERE product_id = $1 AND status = 'waiting' \
            AND quantity >= sizes.quantity AND quantity <= sizes.quantity \
        ORDER BY quantity, position LIMIT $3) AS entries \
    WHERE sizes.quantity <= $2 ORDER BY entries.position LIMIT $4";
const FITTING_SQLITE: &str = "\
    WITH RECURSIVE sizes AS ( \
        SELECT MIN(quantity) AS quantity FROM waitlist_entries \
            WHERE product_id = ?1 AND status = 'waiting' \
        UNION ALL SELECT (SELECT MIN(quantity) FROM waitlist_entries \
            WHERE product_id = ?1 AND status = 'waiting' AND quantity > sizes.quantity) \
            FROM sizes WHERE sizes.quantity < ?2) \
    SELECT entries.* FROM sizes CROSS JOIN waitlist_entries AS entries ON entries.position IN ( \
        SELECT position FROM waitlist_entries \
        WHERE product_id = ?1 AND status = 'waiting' AND quantity = sizes.quantity \
        ORDER BY position LIMIT ?3) \
    WHERE sizes.quantity <= ?2 ORDER BY entries.position LIMIT ?4";

impl Transaction {
    /// The first waiting entries of at most `units` each: up to `per_size` of every size, and up to
    /// `limit` in all.
    pub async fn queue_within(
        &self,
        product: ProductId,
        units: i32,
        per_size: u64,
        limit: u64,
    ) -> Result<Vec<Queued>> {
        let (backend, sql) = if self.is_postgres() {
            (DbBackend::Postgres, FITTING_POSTGRES)
        } else {
            (DbBackend::Sqlite, FITTING_SQLITE)
        };
        let [per_size, limit] =
            [per_size, limit].map(|rows| i64::try_from(rows).unwrap_or(i64::MAX));
        let values = [product.into(), units.into(), per_size.into(), limit.into()];
        let rows = Entity::find()
            .from_raw_sql(Statement::from_sql_and_values(backend, sql, values))
            .all(&self.inner);
        let rows = self.in_order_of_index(rows).await?;
        Ok(rows.into_iter().map(Queued::from).collect())
    }
}
