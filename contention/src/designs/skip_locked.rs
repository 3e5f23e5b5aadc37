//! A row per unit and no lock that anybody waits for: an order takes rows with
//! `FOR UPDATE SKIP LOCKED`, as Shopify describes its reservations of stock.
//!
//! The product's own `stock` is not written while orders are placed, which is the point of the
//! design; it is counted when the server stops.

use sea_orm::{ConnectionTrait, DatabaseConnection};

use super::{
    command::{OrderCommand, OrderReply},
    pool::connect,
    statement::sell,
};

const CREATE: &str = "CREATE TABLE IF NOT EXISTS units ( \
        id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, \
        product_id uuid NOT NULL, order_id uuid); \
    CREATE INDEX IF NOT EXISTS units_free_idx ON units (product_id, id) WHERE order_id IS NULL";

/// Takes all units of the order or none.
const SELL: &str = "WITH unit AS ( \
        SELECT id FROM units WHERE product_id = $3 AND order_id IS NULL \
        ORDER BY id LIMIT $4::int FOR UPDATE SKIP LOCKED), \
    taken AS ( \
        UPDATE units SET order_id = $1::uuid FROM unit \
        WHERE units.id = unit.id AND (SELECT count(*) FROM unit) = $4::int RETURNING units.id) \
    INSERT INTO orders (id, reference, product_id, user_id, quantity, \
        unit_price, currency, status, created_at, confirmed_at) \
    SELECT $1::uuid, $2, id, $5, $4::int, price, currency, 'confirmed', \
        $6::timestamptz, $6::timestamptz FROM products \
    WHERE id = $3::uuid AND (SELECT count(*) FROM taken) = $4::int \
    RETURNING unit_price, currency";

const COUNT: &str = "UPDATE products SET version = version + 1, stock = \
    (SELECT count(*) FROM units WHERE product_id = products.id AND order_id IS NULL) \
    WHERE id IN (SELECT DISTINCT product_id FROM units)";

#[derive(Debug)]
pub(super) struct SkipLocked {
    database: DatabaseConnection,
}

impl SkipLocked {
    pub(super) async fn open(url: &str, connections: u32) -> anyhow::Result<Self> {
        let database = connect(url, connections).await?;
        database.execute_unprepared(CREATE).await?;
        Ok(Self { database })
    }

    pub(super) async fn place(&self, command: OrderCommand) -> anyhow::Result<OrderReply> {
        sell(&self.database, SELL, command).await
    }

    /// Writes the stock that is left, so that the database can be verified.
    pub(super) async fn finish(&self) -> anyhow::Result<()> {
        self.database.execute_unprepared(COUNT).await?;
        Ok(())
    }
}
