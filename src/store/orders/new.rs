//! The orders that a batch adds.

use std::sync::Arc;

use chrono::{DateTime, Utc};
use entities::{
    order_status::OrderStatus as Status,
    orders::{ActiveModel, Entity},
};
use sea_orm::{
    ActiveValue::{NotSet, Set},
    ConnectionTrait, DbBackend, EntityTrait, Statement, Value,
};

use super::super::{Result, Transaction, array};
use crate::domain::{IdempotencyKey, Order};

/// An order of a batch, and what the table keeps of it beyond.
#[derive(Clone, Debug)]
pub struct NewOrder {
    pub order: Order,
    pub key: Option<IdempotencyKey>,
    /// Whether it is offered to somebody who waited.
    pub from_waitlist: bool,
}

/// The orders of a batch, all of one product.
#[derive(Clone, Debug, Default)]
pub struct NewOrders {
    pub orders: Vec<NewOrder>,
}

impl NewOrders {
    /// Puts orders with keys in the order of their keys: two batches that use the same keys for
    /// different products then wait for each other instead of locking each other out.
    pub fn sort_by_key(&mut self) {
        let name = |new: &NewOrder| {
            let key = new.key.as_ref()?;
            Some((Arc::clone(&new.order.user_id), key.key.clone()))
        };
        self.orders.sort_by_cached_key(name);
    }
}

/// One statement for a batch of any size, where a `VALUES` list would be a new text per size and
/// a parameter per field.
pub(super) const INSERT_POSTGRES: &str = "\
    INSERT INTO orders (id, reference, user_id, quantity, idempotency_key, idempotency_request, \
        from_waitlist, product_id, unit_price, currency, status, created_at, expires_at, confirmed_at) \
    SELECT id, reference, user_id, quantity, NULLIF(key, ''), NULLIF(request, ''), \
        from_waitlist, $8, $9, $10, $11, $12, $13, $14 \
    FROM unnest($1::uuid[], $2::text[], $3::text[], $4::int[], $5::text[], $6::text[], \
        $7::bool[]) AS batch (id, reference, user_id, quantity, key, request, from_waitlist)";

/// Rows of one insert on SQLite, whose statements take 32,766 parameters.
const ROWS_SQLITE: usize = 1_000;

impl Transaction {
    /// Writes the orders of a batch.
    ///
    /// # Errors
    /// [`crate::store::Constraint::IdempotencyKey`] and [`crate::store::Constraint::Reference`] when somebody
    /// else used the same in the meantime.
    pub async fn insert_orders(&self, new: &NewOrders) -> Result<()> {
        let Some(first) = new.orders.first() else {
            return Ok(());
        };
        if self.is_postgres() {
            let statement = insert_statement(INSERT_POSTGRES, &first.order, new, []);
            self.inner.execute_raw(statement).await?;
        } else {
            for chunk in new.orders.chunks(ROWS_SQLITE) {
                Entity::insert_many(chunk.iter().map(row))
                    .exec_without_returning(&self.inner)
                    .await?;
            }
        }
        Ok(())
    }
}

fn row(new: &NewOrder) -> ActiveModel {
    let NewOrder {
        order,
        key,
        from_waitlist,
    } = new;
    ActiveModel {
        id: Set(order.id),
        reference: Set(order.reference.clone()),
        product_id: Set(order.product_id),
        user_id: Set(order.user_id.to_string()),
        quantity: Set(order.quantity),
        unit_price: Set(order.unit_price),
        currency: Set(order.currency.clone()),
        status: Set(order.status.into()),
        idempotency_key: Set(key.as_ref().map(|key| key.key.clone())),
        idempotency_request: Set(key.as_ref().map(|key| key.request.clone())),
        created_at: Set(order.created_at),
        expires_at: Set(order.expires_at),
        confirmed_at: Set(order.confirmed_at),
        payment_id: NotSet,
        payment_status: NotSet,
        payment_method: NotSet,
        payment_attempt: NotSet,
        payment_begun_at: NotSet,
        payment_asked_at: NotSet,
        from_waitlist: Set(*from_waitlist),
    }
}

/// What the orders of a batch share is sent once, the rest as arrays. An empty text stands for
/// no key: keys have at least one character.
pub(super) fn insert_statement<const MORE: usize>(
    text: &str,
    first: &Order,
    new: &NewOrders,
    more: [Value; MORE],
) -> Statement {
    let orders = || new.orders.iter().map(|new| &new.order);
    let keys = || new.orders.iter().map(|new| new.key.as_ref());
    let values: [Value; 14] = [
        array(orders().map(|order| order.id)),
        array(orders().map(|order| order.reference.clone())),
        array(orders().map(|order| order.user_id.to_string())),
        array(orders().map(|order| order.quantity)),
        array(keys().map(|key| key.map_or_else(String::new, |key| key.key.clone()))),
        array(keys().map(|key| key.map_or_else(String::new, |key| key.request.clone()))),
        array(new.orders.iter().map(|new| new.from_waitlist)),
        first.product_id.into(),
        first.unit_price.into(),
        first.currency.clone().into(),
        sea_orm::ActiveEnum::to_value(&Status::from(first.status)).into(),
        timestamp(first.created_at),
        first.expires_at.into(),
        first.confirmed_at.into(),
    ];
    Statement::from_sql_and_values(DbBackend::Postgres, text, values.into_iter().chain(more))
}

fn timestamp(at: DateTime<Utc>) -> Value {
    at.into()
}
