//! A row lock per order and no Redis: `BEGIN; SELECT … FOR UPDATE; UPDATE; INSERT; COMMIT`.

use flash_sale::domain::Order;
use sea_orm::{ConnectionTrait, DatabaseConnection, DbBackend, Statement, TransactionTrait, Value};

use super::{
    command::{OrderCommand, OrderReply, order},
    pool::connect,
};

const LOCK: &str = "SELECT stock, price, currency FROM products WHERE id = $1 FOR UPDATE";
const UPDATE: &str = "UPDATE products \
    SET stock = stock - $2, version = version + 1, updated_at = $3 WHERE id = $1";
const INSERT: &str = "INSERT INTO orders (id, reference, product_id, user_id, quantity, \
        unit_price, currency, status, created_at, confirmed_at) \
    VALUES ($1, $2, $3, $4, $5, $6, $7, 'confirmed', $8, $8)";

#[derive(Debug)]
pub(super) struct RowLock {
    database: DatabaseConnection,
}

impl RowLock {
    pub(super) async fn open(url: &str, connections: u32) -> anyhow::Result<Self> {
        let database = connect(url, connections).await?;
        Ok(Self { database })
    }

    pub(super) async fn place(&self, command: OrderCommand) -> anyhow::Result<OrderReply> {
        let transaction = self.database.begin().await?;
        let row = transaction
            .query_one_raw(statement(LOCK, [command.product_id.into()]))
            .await?;
        let Some(row) = row else {
            return Ok(OrderReply::SoldOut);
        };
        if row.try_get::<i32>("", "stock")? < command.quantity {
            return Ok(OrderReply::SoldOut);
        }
        let order = order(
            command,
            row.try_get("", "price")?,
            row.try_get("", "currency")?,
        );
        let change = [
            command.product_id.into(),
            command.quantity.into(),
            order.created_at.into(),
        ];
        transaction.execute_raw(statement(UPDATE, change)).await?;
        transaction
            .execute_raw(statement(INSERT, row_of(&order)))
            .await?;
        transaction.commit().await?;
        Ok(OrderReply::Created(Box::new(order)))
    }
}

fn row_of(order: &Order) -> [Value; 8] {
    [
        order.id.into(),
        order.reference.clone().into(),
        order.product_id.into(),
        order.user_id.to_string().into(),
        order.quantity.into(),
        order.unit_price.into(),
        order.currency.clone().into(),
        order.created_at.into(),
    ]
}

fn statement<const N: usize>(sql: &str, values: [Value; N]) -> Statement {
    Statement::from_sql_and_values(DbBackend::Postgres, sql, values)
}
