//! SQL for `waitlist_entries`: the queue of a product (join, next entries, offers, leaves).

use std::sync::Arc;

use entities::{
    waitlist_entries::{ActiveModel, COLUMN, Column, Entity, Model},
    waitlist_status::WaitlistStatus as Status,
};
use sea_orm::{
    ActiveEnum,
    ActiveValue::{NotSet, Set},
    ColumnTrait, ConnectionTrait, DbBackend, EntityTrait, QueryFilter, QueryOrder, QuerySelect,
    Statement, Value,
    sea_query::Expr,
};
use uuid::Uuid;

use super::super::{Result, Store, Transaction, array, padded};
use crate::domain::{IdempotencyKey, OrderId, ProductId, UserId, WaitlistEntry};

/// Rows of one insert on SQLite, which takes 32,766 parameters.
const ROWS: usize = 1_000;

/// An entry to be inserted.
#[derive(Clone, Debug)]
pub struct NewEntry {
    pub entry: WaitlistEntry,
    pub key: Option<IdempotencyKey>,
}

/// The columns of a waiting entry that a decision needs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Queued {
    pub id: Uuid,
    pub user_id: UserId,
    pub quantity: i32,
}

impl From<Model> for Queued {
    fn from(row: Model) -> Self {
        Self {
            id: row.id,
            user_id: Arc::from(row.user_id),
            quantity: row.quantity,
        }
    }
}

/// The largest counted blocks of a product: one row for 16 million positions.
const WAITING: &str = "\
    SELECT COALESCE(SUM(waiting), 0) FROM waitlist_counts WHERE product_id = $1 AND level = 3";

/// The condition of a waiting entry that is found by its id, in words that no index has: the planner
/// would read a whole queue that it takes for a short one.
const STILL_WAITING: &str = "status || '' = 'waiting'";

/// The quantity of the product's first waiting entry.
///
/// The order by product and position is one that only the index of the queue has: with an equality
/// the planner took the primary key and read every older entry of other products, and with `EXISTS`
/// it joined the products with all waiting entries.
macro_rules! first_quantity {
    () => {
        "(SELECT quantity FROM waitlist_entries \
          WHERE product_id >= products.id AND product_id <= products.id AND status = 'waiting' \
          ORDER BY product_id, position LIMIT 1)"
    };
}

/// Public products with reserved units that a waiting entry could receive, and archived ones whose
/// places have not ended. The largest counted blocks tell which products have waiting entries, so
/// that the others, mostly all, are not read.
const SERVICEABLE: &str = concat!(
    "SELECT id FROM products \
     WHERE id IN (SELECT product_id FROM waitlist_counts WHERE level = 3 AND waiting > 0) \
        AND CASE WHEN archived_at IS NOT NULL THEN ",
    first_quantity!(),
    " IS NOT NULL WHEN NOT published OR stock_reserved = 0 THEN FALSE \
        WHEN waitlist_skip THEN (SELECT MIN(quantity) FROM waitlist_entries \
            WHERE product_id = products.id AND status = 'waiting') <= products.stock \
        ELSE ",
    first_quantity!(),
    " <= products.stock END"
);

impl Store {
    /// Products with a waiting entry that could be served: their node died before it served the
    /// entry, or `waitlist_skip` was set afterwards.
    pub async fn products_with_serviceable_entries(&self) -> Result<Vec<ProductId>> {
        let statement = Statement::from_string(self.read.get_database_backend(), SERVICEABLE);
        let rows = self.rows_in_order_of_index(&statement).await?;
        let ids = rows.iter().map(|row| row.try_get_by_index(0));
        Ok(ids.collect::<std::result::Result<_, _>>()?)
    }
}

impl Transaction {
    /// The number of waiting entries of the product.
    pub async fn waiting_count(&self, product: ProductId) -> Result<i64> {
        let backend = self.inner.get_database_backend();
        let statement = Statement::from_sql_and_values(backend, WAITING, [product.into()]);
        let row = self.inner.query_one_raw(statement).await?;
        Ok(row.map_or(Ok(0), |row| row.try_get_by_index(0))?)
    }

    /// The first waiting entries, up to `limit`.
    pub async fn queue(&self, product: ProductId, limit: u64) -> Result<Vec<Queued>> {
        let mut query = Entity::find()
            .filter(COLUMN.product_id.gte(product))
            .filter(COLUMN.product_id.lte(product))
            .filter(Expr::cust("status = 'waiting'"));
        if self.is_postgres() {
            // Finds the partition, if there are any, where a range cannot; an equality would take
            // the order by product away.
            query = query.filter(COLUMN.product_id.is_in([product, product]));
        }
        let rows = query
            .order_by_asc(Column::ProductId)
            .order_by_asc(Column::Position)
            .limit(limit)
            .all(&self.inner);
        let rows = self.in_order_of_index(rows).await?;
        Ok(rows.into_iter().map(Queued::from).collect())
    }

    /// Inserts entries at the end of the queue, in this order.
    pub async fn insert_entries(&self, entries: &[NewEntry]) -> Result<()> {
        let Some(first) = entries.first() else {
            return Ok(());
        };
        if self.is_postgres() {
            let insert = insert(first, entries);
            return Ok(self.inner.execute_raw(insert).await.map(drop)?);
        }
        for chunk in entries.chunks(ROWS) {
            Entity::insert_many(chunk.iter().map(row))
                .exec_without_returning(&self.inner)
                .await?;
        }
        Ok(())
    }

    /// Marks entries of the product as offered; false when one of them is no longer waiting.
    pub async fn offer_entries(
        &self,
        product: ProductId,
        offers: &[(Uuid, OrderId)],
    ) -> Result<bool> {
        let mut written = 0;
        for chunk in offers.chunks(ROWS) {
            let mut orders = Expr::case(Expr::cust("FALSE"), Expr::col(Column::OrderId));
            for (entry, order) in chunk {
                orders = orders.case(Column::Id.eq(*entry), Expr::value(*order));
            }
            let ids = chunk.iter().map(|(entry, _)| *entry);
            let update = Entity::update_many()
                .col_expr(Column::OrderId, orders.into())
                .col_expr(Column::Status, Expr::value(Status::Offered))
                .filter(COLUMN.product_id.eq(product))
                .filter(Column::Id.is_in(ids))
                .filter(Expr::cust(STILL_WAITING));
            written += update.exec(&self.inner).await?.rows_affected;
        }
        Ok(usize::try_from(written) == Ok(offers.len()))
    }

    /// Marks entries of the product as left; false when one of them is no longer waiting.
    pub async fn leave_entries(&self, product: ProductId, entries: &[Uuid]) -> Result<bool> {
        if entries.is_empty() {
            return Ok(true);
        }
        let update = Entity::update_many()
            .col_expr(Column::Status, Expr::value(Status::Left))
            .filter(COLUMN.product_id.eq(product))
            .filter(Column::Id.is_in(padded(entries.to_vec())))
            .filter(Expr::cust(STILL_WAITING));
        let left = update.exec(&self.inner).await?.rows_affected;
        Ok(usize::try_from(left) == Ok(entries.len()))
    }
}

/// The positions are drawn in the order of the entries.
const INSERT: &str = "\
    INSERT INTO waitlist_entries (id, user_id, quantity, status, order_id, \
        idempotency_key, idempotency_request, product_id, created_at) \
    SELECT id, user_id, quantity, status, \
        NULLIF(order_id, '00000000-0000-0000-0000-000000000000'), \
        NULLIF(idempotency_key, ''), NULLIF(idempotency_request, ''), $8, $9 \
    FROM unnest($1::uuid[], $2::text[], $3::int[], $4::text[], $5::uuid[], $6::text[], $7::text[]) \
        WITH ORDINALITY AS batch (id, user_id, quantity, status, order_id, \
            idempotency_key, idempotency_request, number) \
    ORDER BY number";

/// One statement for a batch of any size on PostgreSQL, all of the product and time of `first`.
fn insert(first: &NewEntry, new: &[NewEntry]) -> Statement {
    let entries = || new.iter().map(|new| &new.entry);
    let key = |field: fn(&IdempotencyKey) -> &String| {
        let keys = new.iter().map(|new| new.key.as_ref());
        array(keys.map(|key| key.map_or_else(String::new, |key| field(key).clone())))
    };
    let status = |entry: &WaitlistEntry| Status::from(entry.status).to_value();
    let values: [Value; 9] = [
        array(entries().map(|entry| entry.id)),
        array(entries().map(|entry| entry.user_id.to_string())),
        array(entries().map(|entry| entry.quantity)),
        array(entries().map(status)),
        array(entries().map(|entry| entry.order_id.unwrap_or_default())),
        key(|key| &key.key),
        key(|key| &key.request),
        first.entry.product_id.into(),
        first.entry.created_at.into(),
    ];
    Statement::from_sql_and_values(DbBackend::Postgres, INSERT, values)
}

fn row(new: &NewEntry) -> ActiveModel {
    let NewEntry { entry, key } = new;
    ActiveModel {
        position: NotSet,
        id: Set(entry.id),
        product_id: Set(entry.product_id),
        user_id: Set(entry.user_id.to_string()),
        quantity: Set(entry.quantity),
        status: Set(entry.status.into()),
        order_id: Set(entry.order_id),
        idempotency_key: Set(key.as_ref().map(|key| key.key.clone())),
        idempotency_request: Set(key.as_ref().map(|key| key.request.clone())),
        created_at: Set(entry.created_at),
    }
}
