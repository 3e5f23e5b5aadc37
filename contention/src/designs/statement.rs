//! One data-modifying statement per order and no Redis: a conditional `UPDATE` and the `INSERT`
//! in one round trip, which is the whole transaction.

use sea_orm::{ConnectionTrait, DatabaseConnection, DbBackend, Statement, Value};

use super::{
    command::{OrderCommand, OrderReply, order},
    pool::connect,
};

const SELL: &str = "WITH updated AS ( \
        UPDATE products SET stock = stock - $4, version = version + 1, updated_at = $6 \
        WHERE id = $3 AND stock >= $4 RETURNING price, currency) \
    INSERT INTO orders (id, reference, product_id, user_id, quantity, \
        unit_price, currency, status, created_at, confirmed_at) \
    SELECT $1::uuid, $2, $3::uuid, $5, $4::int, price, currency, 'confirmed', \
        $6::timestamptz, $6::timestamptz FROM updated \
    RETURNING unit_price, currency";

#[derive(Debug)]
pub(super) struct SingleStatement {
    database: DatabaseConnection,
}

impl SingleStatement {
    pub(super) async fn open(url: &str, connections: u32) -> anyhow::Result<Self> {
        let database = connect(url, connections).await?;
        Ok(Self { database })
    }

    pub(super) async fn place(&self, command: OrderCommand) -> anyhow::Result<OrderReply> {
        sell(&self.database, SELL, command).await
    }
}

/// Executes a statement that inserts an order and returns its price and currency, or nothing when
/// there is no stock. Its parameters: id, reference, product, quantity (int), buyer, time.
pub(super) async fn sell(
    database: &DatabaseConnection,
    sql: &str,
    command: OrderCommand,
) -> anyhow::Result<OrderReply> {
    let mut order = order(command, 0, String::new());
    let values: [Value; 6] = [
        order.id.into(),
        order.reference.clone().into(),
        order.product_id.into(),
        order.quantity.into(),
        order.user_id.to_string().into(),
        order.created_at.into(),
    ];
    let statement = Statement::from_sql_and_values(DbBackend::Postgres, sql, values);
    let Some(row) = database.query_one_raw(statement).await? else {
        return Ok(OrderReply::SoldOut);
    };
    order.unit_price = row.try_get("", "unit_price")?;
    order.total = order.unit_price.saturating_mul(i64::from(order.quantity));
    order.currency = row.try_get("", "currency")?;
    Ok(OrderReply::Created(Box::new(order)))
}
