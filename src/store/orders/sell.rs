//! The writing of a batch that does nothing but sell: stock and orders at once.

use std::sync::LazyLock;

use chrono::{DateTime, Utc};
use sea_orm::ConnectionTrait;

use super::{
    super::{Result, StockChange, Transaction},
    new::{INSERT_POSTGRES, NewOrders, insert_statement},
};

/// The fence and the orders in one round trip: where somebody wrote the product, no order goes in.
static SELL_POSTGRES: LazyLock<String> = LazyLock::new(|| {
    format!(
        "WITH fence AS (UPDATE products SET stock = $15, stock_total = $16, stock_reserved = $17, \
            updated_at = $18, version = version + 1 WHERE id = $8 AND version = $19 RETURNING id) \
        {INSERT_POSTGRES} WHERE EXISTS (SELECT id FROM fence)"
    )
});

impl Transaction {
    /// Writes the stock and the orders that it went to, unless somebody wrote the product since
    /// `change.version`.
    ///
    /// # Errors
    /// As of [`Transaction::insert_orders`].
    pub async fn sell(
        &self,
        change: StockChange,
        orders: &NewOrders,
        now: DateTime<Utc>,
    ) -> Result<bool> {
        let first = match orders.orders.first() {
            Some(first) if self.is_postgres() => &first.order,
            _ => {
                let written = self.write_stock(change, now).await?;
                if written {
                    self.insert_orders(orders).await?;
                }
                return Ok(written);
            }
        };
        let more = [
            change.stock.into(),
            change.stock_total.into(),
            change.stock_reserved.into(),
            now.into(),
            change.version.into(),
        ];
        let statement = insert_statement(&SELL_POSTGRES, first, orders, more);
        let inserted = self.inner.execute_raw(statement).await?;
        Ok(inserted.rows_affected() > 0)
    }
}
