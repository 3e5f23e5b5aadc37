//! The table `orders`.

use std::{collections::HashMap, sync::Arc};

use chrono::{DateTime, Utc};
use entities::{
    order_status::OrderStatus as Status,
    orders::{ActiveModel, COLUMN, Column, Entity, Model},
};
use sea_orm::{
    ActiveValue::Set,
    ColumnTrait, ConnectionTrait, DbBackend, EntityTrait, FromQueryResult, QueryFilter, QueryOrder,
    QuerySelect, Statement, Value,
    sea_query::{ArrayType, Expr, ValueType},
};

use super::{Result, Store, Transaction, padded};
use crate::domain::{IdempotencyKey, Order, OrderId, OrderStatus, ProductId, UserId};

/// The orders of a batch, all of one product, with what the table keeps of their keys.
#[derive(Clone, Debug, Default)]
pub struct NewOrders {
    pub orders: Vec<(Order, Option<IdempotencyKey>)>,
}

impl NewOrders {
    /// Puts orders with keys in the order of their keys: two batches that use the same keys for
    /// different products then wait for each other instead of locking each other out.
    pub fn sort_by_key(&mut self) {
        let name = |(order, key): &(Order, Option<IdempotencyKey>)| {
            let key = key.as_ref()?;
            Some((Arc::clone(&order.user_id), key.key.clone()))
        };
        self.orders.sort_by_cached_key(name);
    }
}

/// An order that an idempotency key stands for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KnownOrder {
    pub order: Order,
    /// The request that the key was first used for.
    pub request: String,
}

/// Which orders to list; `before` is the last id of the page before.
#[derive(Clone, Debug, Default)]
pub struct OrderFilter {
    pub user_id: Option<UserId>,
    pub product_id: Option<ProductId>,
    pub status: Option<OrderStatus>,
    pub before: Option<OrderId>,
    pub limit: u64,
}

/// One statement for a batch of any size, where a `VALUES` list would be a new text per size and
/// a parameter per field.
const INSERT_POSTGRES: &str = "\
    INSERT INTO orders (id, reference, user_id, quantity, idempotency_key, idempotency_request, \
        product_id, unit_price, currency, status, created_at, expires_at, confirmed_at) \
    SELECT id, reference, user_id, quantity, NULLIF(key, ''), NULLIF(request, ''), \
        $7, $8, $9, $10, $11, $12, $13 \
    FROM unnest($1::uuid[], $2::text[], $3::text[], $4::int[], $5::text[], $6::text[]) \
        AS batch (id, reference, user_id, quantity, key, request)";

/// A probe of the index per pair. Two `IN` lists would be one probe per user *and* key.
const KNOWN_POSTGRES: &str = "\
    SELECT orders.* FROM unnest($1::text[], $2::text[]) AS asked (user_id, key) \
    JOIN orders ON orders.user_id = asked.user_id AND orders.idempotency_key = asked.key";
const KNOWN_SQLITE: &str = "\
    SELECT orders.* FROM json_each(?) AS asked \
    JOIN orders ON orders.user_id = asked.value ->> 0 \
        AND orders.idempotency_key = asked.value ->> 1";

/// Rows of one insert on SQLite, whose statements take 32,766 parameters.
const ROWS_SQLITE: usize = 1_000;

impl From<Status> for OrderStatus {
    fn from(status: Status) -> Self {
        match status {
            Status::Pending => Self::Pending,
            Status::Confirming => Self::Confirming,
            Status::Confirmed => Self::Confirmed,
            Status::Cancelled => Self::Cancelled,
            Status::Expired => Self::Expired,
        }
    }
}

impl From<OrderStatus> for Status {
    fn from(status: OrderStatus) -> Self {
        match status {
            OrderStatus::Pending => Self::Pending,
            OrderStatus::Confirming => Self::Confirming,
            OrderStatus::Confirmed => Self::Confirmed,
            OrderStatus::Cancelled => Self::Cancelled,
            OrderStatus::Expired => Self::Expired,
        }
    }
}

impl From<Model> for Order {
    fn from(row: Model) -> Self {
        Self {
            id: row.id,
            reference: row.reference,
            product_id: row.product_id,
            user_id: Arc::from(row.user_id),
            quantity: row.quantity,
            unit_price: row.unit_price,
            total: row.unit_price.saturating_mul(i64::from(row.quantity)),
            currency: row.currency,
            status: row.status.into(),
            created_at: row.created_at,
            expires_at: row.expires_at,
            confirmed_at: row.confirmed_at,
            payment: None,
        }
    }
}

impl Store {
    pub async fn order(&self, id: OrderId) -> Result<Option<Order>> {
        let row = self.bounded(Entity::find_by_id(id).one(&self.read)).await?;
        Ok(row.map(Order::from))
    }

    /// Newest first.
    pub async fn orders(&self, filter: OrderFilter) -> Result<Vec<Order>> {
        let mut query = Entity::find().order_by_desc(COLUMN.id).limit(filter.limit);
        if let Some(user) = &filter.user_id {
            query = query.filter(Column::UserId.eq(&**user));
        }
        if let Some(product) = filter.product_id {
            query = query.filter(COLUMN.product_id.eq(product));
        }
        if let Some(status) = filter.status {
            query = query.filter(Column::Status.eq(Status::from(status)));
        }
        if let Some(before) = filter.before {
            query = query.filter(COLUMN.id.lt(before));
        }
        let rows = self.bounded(query.all(&self.read)).await?;
        Ok(rows.into_iter().map(Order::from).collect())
    }
}

#[derive(FromQueryResult)]
struct Held {
    user_id: String,
    units: i64,
}

impl Transaction {
    /// The orders that these users' keys stand for, whatever their product.
    pub async fn known_orders(
        &self,
        keys: Vec<(UserId, String)>,
    ) -> Result<HashMap<(UserId, String), KnownOrder>> {
        let (users, keys): (Vec<_>, Vec<_>) = keys
            .into_iter()
            .map(|(user, key)| (user.to_string(), key))
            .unzip();
        let statement = if self.is_postgres() {
            let pairs = [array(users.into_iter()), array(keys.into_iter())];
            Statement::from_sql_and_values(DbBackend::Postgres, KNOWN_POSTGRES, pairs)
        } else {
            let pairs: Vec<_> = users.into_iter().zip(keys).collect();
            let pairs = serde_json::to_string(&pairs).unwrap_or_default();
            Statement::from_sql_and_values(DbBackend::Sqlite, KNOWN_SQLITE, [pairs.into()])
        };
        let rows = Entity::find()
            .from_raw_sql(statement)
            .all(&self.inner)
            .await?;
        let known = rows.into_iter().filter_map(|mut row| {
            let key = row.idempotency_key.take()?;
            let request = row.idempotency_request.take().unwrap_or_default();
            let order = Order::from(row);
            Some((
                (Arc::clone(&order.user_id), key),
                KnownOrder { order, request },
            ))
        });
        Ok(known.collect())
    }

    /// Units of the product that each of these users holds in live orders.
    pub async fn held_units(
        &self,
        product: ProductId,
        users: Vec<UserId>,
    ) -> Result<HashMap<UserId, i64>> {
        let users = users.iter().map(ToString::to_string).collect();
        let rows = Entity::find()
            .select_only()
            .column(Column::UserId)
            .column_as(Column::Quantity.sum(), "units")
            .filter(COLUMN.product_id.eq(product))
            .filter(Column::UserId.is_in(padded(users)))
            // As a literal, so that every plan may use the index of live orders.
            .filter(Expr::cust(
                "status IN ('pending', 'confirming', 'confirmed')",
            ))
            .group_by(Column::UserId)
            .into_model::<Held>()
            .all(&self.inner)
            .await?;
        Ok(rows
            .into_iter()
            .map(|held| (Arc::from(held.user_id), held.units))
            .collect())
    }

    /// Writes the orders of a batch.
    ///
    /// # Errors
    /// [`super::Constraint::IdempotencyKey`] and [`super::Constraint::Reference`] when somebody
    /// else used the same in the meantime.
    pub async fn insert_orders(&self, new: &NewOrders) -> Result<()> {
        let Some((first, _)) = new.orders.first() else {
            return Ok(());
        };
        if self.is_postgres() {
            let statement = insert_statement(first, new);
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

    /// Whether the order is there.
    pub async fn has_order(&self, id: OrderId) -> Result<bool> {
        Ok(Entity::find_by_id(id).one(&self.inner).await?.is_some())
    }
}

fn row((order, key): &(Order, Option<IdempotencyKey>)) -> ActiveModel {
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
    }
}

/// What the orders of a batch share is sent once, the rest as arrays. An empty text stands for
/// no key: keys have at least one character.
fn insert_statement(first: &Order, new: &NewOrders) -> Statement {
    let orders = || new.orders.iter().map(|(order, _)| order);
    let keys = || new.orders.iter().map(|(_, key)| key.as_ref());
    let values: [Value; 13] = [
        array(orders().map(|order| order.id)),
        array(orders().map(|order| order.reference.clone())),
        array(orders().map(|order| order.user_id.to_string())),
        array(orders().map(|order| order.quantity)),
        array(keys().map(|key| key.map_or_else(String::new, |key| key.key.clone()))),
        array(keys().map(|key| key.map_or_else(String::new, |key| key.request.clone()))),
        first.product_id.into(),
        first.unit_price.into(),
        first.currency.clone().into(),
        sea_orm::ActiveEnum::to_value(&Status::from(first.status)).into(),
        timestamp(first.created_at),
        first.expires_at.into(),
        first.confirmed_at.into(),
    ];
    Statement::from_sql_and_values(DbBackend::Postgres, INSERT_POSTGRES, values)
}

fn timestamp(at: DateTime<Utc>) -> Value {
    at.into()
}

fn array<T: Into<Value> + ValueType>(values: impl Iterator<Item = T>) -> Value {
    let element: ArrayType = T::array_type();
    Value::Array(element, Some(Box::new(values.map(Into::into).collect())))
}
