//! SQL that inserts the orders of a batch, alone or together with the fenced update of the stock.
//!
//! The only place in the service that lists the columns of an insert into `orders`: a new column is
//! added to `insert_sql` (PostgreSQL) and to `row` (SQLite). One that an order made for a waitlist
//! entry must keep also goes through `store/waitlist_entries/queue.rs`.

use chrono::{DateTime, Utc};
use entities::{
    order_status::OrderStatus as Status,
    orders::{ActiveModel, Entity},
};
use sea_orm::{
    ActiveEnum,
    ActiveValue::{NotSet, Set},
    ConnectionTrait, DbBackend, EntityTrait, QueryTrait, Statement, Value, Values,
};

use super::super::{Result, StockChange, Transaction, array};
use crate::domain::{IdempotencyKey, Order};

/// An order of a batch, with the columns that its buyer does not see.
#[derive(Clone, Debug)]
pub struct NewOrder {
    pub order: Order,
    pub key: Option<IdempotencyKey>,
    /// Whether the order is made for a waitlist entry.
    pub from_waitlist: bool,
}

/// The orders of a batch, all of one product.
#[derive(Clone, Debug, Default)]
pub struct NewOrders {
    pub orders: Vec<NewOrder>,
}

/// Columns whose arrays have an empty text for null, because an array of texts has no nulls here;
/// keys have at least one character.
const NULL_IF_EMPTY: [&str; 2] = ["idempotency_key", "idempotency_request"];

/// Rows of one insert on SQLite, whose statements take 32,766 parameters.
const ROWS_SQLITE: usize = 1_000;

impl Transaction {
    /// Writes the orders of a batch.
    ///
    /// # Errors
    /// [`crate::store::Constraint::Reference`] when an order has the same one.
    pub async fn insert_orders(&self, new: &NewOrders) -> Result<()> {
        let Some(first) = new.orders.first() else {
            return Ok(());
        };
        if self.is_postgres() {
            let mut parameters = Parameters::default();
            let sql = insert_sql(&first.order, new, &mut parameters);
            let statement = parameters.statement(sql);
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

    /// Writes the stock and the orders that reduce it, unless the product's row is not
    /// `change.before` any more. On PostgreSQL one statement does both, so that a batch that only
    /// sells costs one round trip: where the fenced update matches no row, no order is inserted.
    ///
    /// # Errors
    /// As of [`Transaction::insert_orders`]; [`crate::store::Error::CommitUnknown`] when the
    /// statement commits by itself and its answer was lost.
    pub async fn sell_orders(
        &self,
        change: StockChange<'_>,
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
        let fence = self.fence(change, now).build(DbBackend::Postgres);
        let mut parameters = Parameters::of(fence.values);
        let fence = fence.sql;
        let insert = insert_sql(first, orders, &mut parameters);
        let sql = format!(
            "WITH fence AS ({fence} RETURNING id) {insert} WHERE EXISTS (SELECT id FROM fence)"
        );
        let inserted = self.inner.execute_raw(parameters.statement(sql)).await;
        let inserted = self.sent(inserted)?;
        Ok(inserted.rows_affected() > 0)
    }
}

/// The values of a PostgreSQL statement, numbered in the order in which they are bound.
#[derive(Default)]
struct Parameters(Vec<Value>);

impl Parameters {
    /// Those of a statement that begins the text.
    fn of(values: Option<Values>) -> Self {
        Self(values.map_or_else(Vec::new, |values| values.0))
    }

    /// Adds a value and returns its placeholder.
    fn bind(&mut self, value: impl Into<Value>) -> String {
        self.0.push(value.into());
        format!("${}", self.0.len())
    }

    fn statement(self, sql: String) -> Statement {
        Statement::from_sql_and_values(DbBackend::Postgres, sql, self.0)
    }
}

/// One statement for a batch of any size, with the values that differ as arrays; a `VALUES` list
/// would be a new text per size and a parameter per field. The text depends on no value, so
/// PostgreSQL prepares it once per connection.
fn insert_sql(first: &Order, new: &NewOrders, parameters: &mut Parameters) -> String {
    let orders = || new.orders.iter().map(|new| &new.order);
    let key = |field: fn(&IdempotencyKey) -> &String| {
        let keys = new.orders.iter().map(|new| new.key.as_ref());
        array(keys.map(|key| key.map_or_else(String::new, |key| field(key).clone())))
    };
    // Values that differ from order to order.
    let per_order = [
        ("id", "uuid", array(orders().map(|order| order.id))),
        (
            "reference",
            "text",
            array(orders().map(|order| order.reference.clone())),
        ),
        (
            "user_id",
            "text",
            array(orders().map(|order| order.user_id.to_string())),
        ),
        (
            "quantity",
            "int",
            array(orders().map(|order| order.quantity)),
        ),
        ("idempotency_key", "text", key(|key| &key.key)),
        ("idempotency_request", "text", key(|key| &key.request)),
        (
            "from_waitlist",
            "bool",
            array(new.orders.iter().map(|new| new.from_waitlist)),
        ),
    ];
    // Values that all orders of a batch have in common: they are of one product and one time.
    let shared: [(&str, Value); 7] = [
        ("product_id", first.product_id.into()),
        ("unit_price", first.unit_price.into()),
        ("currency", first.currency.clone().into()),
        ("status", Status::from(first.status).to_value().into()),
        ("created_at", first.created_at.into()),
        ("expires_at", first.expires_at.into()),
        ("confirmed_at", first.confirmed_at.into()),
    ];
    let names = per_order.each_ref().map(|(name, ..)| *name).join(", ");
    let selected = per_order.each_ref().map(|(name, ..)| {
        if NULL_IF_EMPTY.contains(name) {
            format!("NULLIF({name}, '')")
        } else {
            (*name).to_owned()
        }
    });
    let arrays =
        per_order.map(|(_, kind, values)| format!("{}::{kind}[]", parameters.bind(values)));
    let shared_names = shared.each_ref().map(|(name, _)| *name).join(", ");
    let shared_values = shared.map(|(_, value)| parameters.bind(value));
    format!(
        "INSERT INTO orders ({names}, {shared_names}) SELECT {}, {} FROM unnest({}) AS batch ({names})",
        selected.join(", "),
        shared_values.join(", "),
        arrays.join(", "),
    )
}

/// The row of an order to insert on SQLite.
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
        payment_lease: NotSet,
        payment_refunded_at: NotSet,
        payment_client_secret: NotSet,
        payment_action_until: NotSet,
        payment_declines: NotSet,
        external_provider: NotSet,
        external_reference: NotSet,
        from_waitlist: Set(*from_waitlist),
    }
}
