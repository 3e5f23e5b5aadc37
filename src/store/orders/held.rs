//! SQL for live orders: the units that each user holds or waits for, and whether there are any.

use std::{collections::HashMap, sync::Arc};

use entities::orders::{Column, Entity};
use sea_orm::{
    ColumnTrait, DbBackend, EntityTrait, FromQueryResult, QueryFilter, QuerySelect, Statement,
    sea_query::Expr,
};

use super::super::{Result, Transaction, array};
use crate::domain::{ProductId, UserId};

#[derive(FromQueryResult)]
struct Held {
    user_id: String,
    units: i64,
}

/// Forces one probe of two indexes per user: for a list of users the planner chose to read all live
/// orders of the product, whose number grows with every sale.
const HELD_POSTGRES: &str = "\
    SELECT asked.user_id, held.units FROM unnest($2::text[]) AS asked (user_id) \
    CROSS JOIN LATERAL (SELECT SUM(quantity)::bigint AS units FROM ( \
        SELECT quantity FROM orders WHERE product_id = $1 AND user_id = asked.user_id \
            AND status IN ('pending', 'confirming', 'confirmed') \
        UNION ALL \
        SELECT quantity FROM waitlist_entries WHERE product_id = $1 \
            AND user_id = asked.user_id AND status = 'waiting') AS live) AS held \
    WHERE held.units IS NOT NULL";
const HELD_SQLITE: &str = "\
    SELECT asked.value AS user_id, (SELECT COALESCE(SUM(quantity), 0) FROM orders \
        WHERE product_id = ?2 AND user_id = asked.value \
            AND status IN ('pending', 'confirming', 'confirmed')) \
        + (SELECT COALESCE(SUM(quantity), 0) FROM waitlist_entries \
        WHERE product_id = ?2 AND user_id = asked.value AND status = 'waiting') AS units \
    FROM json_each(?1) AS asked";

const LIVE: &str = "status IN ('pending', 'confirming', 'confirmed')";

impl Transaction {
    /// Whether a live order holds units of the product.
    pub async fn has_live_orders(&self, product: ProductId) -> Result<bool> {
        let live = Entity::find()
            .select_only()
            .column(Column::ProductId)
            .filter(Column::ProductId.eq(product))
            .filter(Expr::cust(LIVE))
            .limit(1)
            .into_tuple::<ProductId>();
        Ok(live.one(&self.inner).await?.is_some())
    }

    /// Units of the product that each of these users holds in live orders or waits for; users
    /// without any may be left out.
    pub async fn held_units(
        &self,
        product: ProductId,
        users: &[UserId],
    ) -> Result<HashMap<UserId, i64>> {
        let users = users.iter().map(ToString::to_string);
        let statement = if self.is_postgres() {
            let values = [product.into(), array(users)];
            Statement::from_sql_and_values(DbBackend::Postgres, HELD_POSTGRES, values)
        } else {
            let users = serde_json::to_string(&users.collect::<Vec<_>>()).unwrap_or_default();
            let values = [users.into(), product.into()];
            Statement::from_sql_and_values(DbBackend::Sqlite, HELD_SQLITE, values)
        };
        let rows = Held::find_by_statement(statement).all(&self.inner).await?;
        Ok(rows
            .into_iter()
            .map(|held| (Arc::from(held.user_id), held.units))
            .collect())
    }
}
