//! A lock of the database per order and no Redis: `BEGIN; lock; SELECT; UPDATE; INSERT; COMMIT`.
//! The lock is the product's row (`SELECT … FOR UPDATE`), or an advisory lock of the product.

use flash_sale::domain::Order;
use sea_orm::{ConnectionTrait, DatabaseConnection, DbBackend, Statement, TransactionTrait, Value};

use super::{
    command::{OrderCommand, OrderReply, order},
    pool::connect,
};

const LOCK_ROW: &str = "SELECT stock, price, currency FROM products WHERE id = $1 FOR UPDATE";
const ADVISORY_LOCK: &str = "SELECT pg_advisory_xact_lock(hashtextextended($1::uuid::text, 0))";
const READ: &str = "SELECT stock, price, currency FROM products WHERE id = $1";
const UPDATE: &str = "UPDATE products \
    SET stock = stock - $2, version = version + 1, updated_at = $3 WHERE id = $1";
const INSERT: &str = "INSERT INTO orders (id, reference, product_id, user_id, quantity, \
        unit_price, currency, status, created_at, confirmed_at) \
    VALUES ($1, $2, $3, $4, $5, $6, $7, 'confirmed', $8, $8)";

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Row,
    Advisory,
}

#[derive(Debug)]
pub(super) struct DatabaseLock {
    database: DatabaseConnection,
    kind: Kind,
}

impl DatabaseLock {
    pub(super) async fn open(url: &str, connections: u32, kind: Kind) -> anyhow::Result<Self> {
        let database = connect(url, connections).await?;
        Ok(Self { database, kind })
    }

    pub(super) async fn place(&self, command: OrderCommand) -> anyhow::Result<OrderReply> {
        let transaction = self.database.begin().await?;
        let product = command.product_id;
        let read = match self.kind {
            Kind::Row => LOCK_ROW,
            Kind::Advisory => {
                let lock = statement(ADVISORY_LOCK, [product.into()]);
                transaction.execute_raw(lock).await?;
                READ
            }
        };
        let row = transaction
            .query_one_raw(statement(read, [product.into()]))
            .await?;
        let Some(row) = row else {
            return Ok(OrderReply::SoldOut);
        };
        if row.try_get::<i32>("", "stock")? < command.quantity {
            return Ok(OrderReply::SoldOut);
        }
        let (price, currency) = (row.try_get("", "price")?, row.try_get("", "currency")?);
        let order = order(command, price, currency);
        let change = [
            product.into(),
            order.quantity.into(),
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
