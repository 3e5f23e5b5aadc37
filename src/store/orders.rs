//! SQL for the table `orders`: reads, lookups by idempotency key.
//!
//! Lists, inserts, releases and the sums of held units are in `orders/`.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
};

use chrono::{DateTime, Utc};
use entities::{
    order_status::OrderStatus as Status,
    orders::{COLUMN, Column, Entity, Model},
    payment_status::PaymentStatus as PaymentStatusColumn,
};
use sea_orm::{
    ColumnTrait, DbBackend, EntityTrait, QueryFilter, QueryOrder, QuerySelect, Statement,
    sea_query::Expr,
};

use super::{Result, Store, Transaction, array, padded};
use crate::domain::{
    ExternalPayment, Order, OrderId, OrderStatus, Payment, PaymentStatus, ProductId, UserId,
    WaitlistEntry,
};

mod held;
mod insert;
mod list;
mod release;

pub use self::{
    insert::{NewOrder, NewOrders},
    list::{OrderFilter, OrderPage},
    release::Release,
};

/// A user's idempotency key for a product.
pub type UserKey = (UserId, String);

/// The order or place that an idempotency key made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IdempotencyRecord {
    pub answer: Recorded,
    /// The request that the key was first used for.
    pub request: String,
}

/// The row that holds the idempotency key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Recorded {
    Order(Box<Order>),
    Entry(WaitlistEntry),
}

/// One index probe per pair. Two `IN` lists would probe every combination of user and key, and a
/// join is planned while a new table is small: it then reads all orders, however many there are.
const BY_KEY_POSTGRES: &str = "\
    SELECT found.* FROM unnest($2::text[], $3::text[]) AS asked (user_id, key) \
    CROSS JOIN LATERAL (SELECT * FROM orders WHERE product_id = $1 AND user_id = asked.user_id \
        AND idempotency_key = asked.key LIMIT 1) AS found";
/// SQLite keeps the order of a `CROSS JOIN`; else it reads all orders of the product, and looks each
/// of them up among the pairs.
const BY_KEY_SQLITE: &str = "\
    SELECT orders.* FROM json_each(?2) AS asked \
    CROSS JOIN orders ON orders.product_id = ?1 AND orders.user_id = asked.value ->> 0 \
        AND orders.idempotency_key = asked.value ->> 1";

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

impl From<PaymentStatusColumn> for PaymentStatus {
    fn from(status: PaymentStatusColumn) -> Self {
        match status {
            PaymentStatusColumn::Succeeded => Self::Succeeded,
            PaymentStatusColumn::Declined => Self::Declined,
            PaymentStatusColumn::Refunding => Self::Refunding,
            PaymentStatusColumn::Refunded => Self::Refunded,
        }
    }
}

impl From<Model> for Order {
    fn from(row: Model) -> Self {
        let status = row.status.into();
        let payment_status = match row.payment_client_secret {
            Some(_) => Some(PaymentStatus::RequiresAction),
            None => row.payment_status.map(PaymentStatus::from),
        };
        let external = row.external_provider.zip(row.external_reference);
        let mut order = Self {
            id: row.id,
            reference: row.reference,
            product_id: row.product_id,
            user_id: Arc::from(row.user_id),
            quantity: row.quantity,
            unit_price: row.unit_price,
            total: row.unit_price.saturating_mul(i64::from(row.quantity)),
            currency: row.currency,
            status,
            created_at: row.created_at,
            expires_at: row.expires_at,
            confirmed_at: row.confirmed_at,
            payment: row
                .payment_id
                .zip(payment_status)
                .map(|(id, status)| Box::new(Payment::new(id, status))),
            external_payment: external.map(|(provider, reference)| {
                Box::new(ExternalPayment {
                    provider,
                    reference,
                    refund_due: None,
                })
            }),
        };
        order.note_refund_due();
        order
    }
}

impl Store {
    pub async fn order(&self, id: OrderId) -> Result<Option<Order>> {
        let row = self
            .bounded(|| Entity::find_by_id(id).one(&self.read))
            .await?;
        Ok(row.map(Order::from))
    }

    /// When the next hold expires.
    pub async fn next_expiry(&self) -> Result<Option<DateTime<Utc>>> {
        let query = Entity::find()
            .select_only()
            .column(Column::ExpiresAt)
            .filter(Expr::cust("status = 'pending'"))
            .filter(Column::ExpiresAt.is_not_null())
            .order_by_asc(Column::ExpiresAt);
        self.bounded(|| query.clone().into_tuple().one(&self.read))
            .await
    }

    /// The products that have an expired hold.
    pub async fn products_with_expired_holds(&self, now: DateTime<Utc>) -> Result<Vec<ProductId>> {
        let query = Entity::find()
            .select_only()
            .column(Column::ProductId)
            .distinct()
            .filter(Expr::cust("status = 'pending'"))
            .filter(Column::ExpiresAt.lte(now));
        self.bounded(|| query.clone().into_tuple().all(&self.read))
            .await
    }
}

/// An order with the column that its buyer does not see.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredOrder {
    pub order: Order,
    /// Whether the order was made for a waitlist entry.
    pub from_waitlist: bool,
}

/// A pending order whose hold has expired.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExpiredHold {
    pub id: OrderId,
    pub user_id: UserId,
    pub quantity: i32,
    pub from_waitlist: bool,
}

impl Transaction {
    /// Those of the references that orders have.
    pub async fn taken_references(&self, references: Vec<String>) -> Result<HashSet<String>> {
        let taken = Entity::find()
            .select_only()
            .column(Column::Reference)
            .filter(Column::Reference.is_in(padded(references)))
            .into_tuple()
            .all(&self.inner)
            .await?;
        Ok(taken.into_iter().collect())
    }

    /// The orders of the product that these users' keys made.
    pub async fn orders_by_key(
        &self,
        product: ProductId,
        keys: &[UserKey],
    ) -> Result<HashMap<UserKey, IdempotencyRecord>> {
        let statement = self.by_key(BY_KEY_POSTGRES, BY_KEY_SQLITE, product, keys);
        let rows = Entity::find()
            .from_raw_sql(statement)
            .all(&self.inner)
            .await?;
        let records = rows.into_iter().filter_map(|mut row| {
            let key = row.idempotency_key.take()?;
            let request = row.idempotency_request.take().unwrap_or_default();
            let order = Order::from(row);
            let name = (Arc::clone(&order.user_id), key);
            let answer = Recorded::Order(Box::new(order));
            Some((name, IdempotencyRecord { answer, request }))
        });
        Ok(records.collect())
    }

    /// A statement over a product and keys, one form for each database.
    pub(super) fn by_key(
        &self,
        postgres: &str,
        sqlite: &str,
        product: ProductId,
        keys: &[UserKey],
    ) -> Statement {
        if self.is_postgres() {
            let users = array(keys.iter().map(|(user, _)| user.to_string()));
            let keys = array(keys.iter().map(|(_, key)| key.clone()));
            let values = [product.into(), users, keys];
            Statement::from_sql_and_values(DbBackend::Postgres, postgres, values)
        } else {
            let keys: Vec<_> = keys.iter().map(|(user, key)| (&**user, key)).collect();
            let keys = serde_json::to_string(&keys).unwrap_or_default();
            let values = [product.into(), keys.into()];
            Statement::from_sql_and_values(DbBackend::Sqlite, sqlite, values)
        }
    }

    /// Orders of the product by id.
    pub async fn orders_of(
        &self,
        product: ProductId,
        ids: Vec<OrderId>,
    ) -> Result<HashMap<OrderId, StoredOrder>> {
        let rows = Entity::find()
            .filter(COLUMN.product_id.eq(product))
            .filter(Column::Id.is_in(padded(ids)))
            .all(&self.inner)
            .await?;
        let orders = rows.into_iter().map(|row| {
            let from_waitlist = row.from_waitlist;
            let order = Order::from(row);
            (
                order.id,
                StoredOrder {
                    order,
                    from_waitlist,
                },
            )
        });
        Ok(orders.collect())
    }

    /// Up to `limit` pending orders of the product whose hold has expired, oldest expiry first.
    pub async fn expired_holds(
        &self,
        product: ProductId,
        now: DateTime<Utc>,
        limit: u64,
    ) -> Result<Vec<ExpiredHold>> {
        let rows = Entity::find()
            .filter(COLUMN.product_id.eq(product))
            .filter(Expr::cust("status = 'pending'"))
            .filter(Column::ExpiresAt.lte(now))
            .order_by_asc(Column::ExpiresAt)
            .limit(limit)
            .all(&self.inner)
            .await?;
        let expired = rows.into_iter().map(|row| ExpiredHold {
            id: row.id,
            user_id: Arc::from(row.user_id),
            quantity: row.quantity,
            from_waitlist: row.from_waitlist,
        });
        Ok(expired.collect())
    }

    pub(super) async fn order(&self, id: OrderId) -> Result<Option<Order>> {
        let row = Entity::find_by_id(id).one(&self.inner).await?;
        Ok(row.map(Order::from))
    }

    /// Whether the product has this order.
    pub async fn has_order(&self, product: ProductId, id: OrderId) -> Result<bool> {
        let query = Entity::find_by_id(id).filter(COLUMN.product_id.eq(product));
        Ok(query.one(&self.inner).await?.is_some())
    }
}

#[cfg(test)]
mod tests {
    use super::BY_KEY_SQLITE;
    use crate::store::sqlite_plans::assert_probes_each_key;

    #[tokio::test]
    async fn sqlite_probes_the_index_for_each_key() {
        assert_probes_each_key(BY_KEY_SQLITE, 1).await;
    }
}
