//! The table `waitlist_entries`.
//!
//! Only lanes write it, in the transaction that bumps their product's version.

use std::{collections::HashMap, sync::Arc};

use entities::waitlist_entries::{ActiveModel, COLUMN, Column, Entity, Model};
use sea_orm::{
    ActiveValue::{NotSet, Set},
    ColumnTrait, EntityTrait, FromQueryResult, PaginatorTrait, QueryFilter, QueryOrder,
    QuerySelect,
    sea_query::Expr,
};
use uuid::Uuid;

use super::{Known, Remembered, Result, Store, Transaction, padded};
use crate::domain::{IdempotencyKey, OrderId, ProductId, UserId, WaitingStatus, WaitlistEntry};

/// Rows of one insert: SQLite takes 32,766 parameters.
const ROWS: usize = 1_000;

/// A place to be taken.
#[derive(Clone, Debug)]
pub struct NewEntry {
    pub entry: WaitlistEntry,
    pub key: Option<IdempotencyKey>,
}

/// Who is to be served, in order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Queued {
    pub id: Uuid,
    pub user_id: UserId,
    pub quantity: i32,
}

/// An entry with how many wait up to it.
#[derive(FromQueryResult)]
struct Placed {
    #[sea_orm(nested)]
    entry: Model,
    place: i64,
}

/// How many of the product wait up to and with the entry.
const PLACE: &str = "(SELECT COUNT(*) FROM waitlist_entries AS ahead \
    WHERE ahead.product_id = waitlist_entries.product_id AND ahead.status = 'waiting' \
    AND ahead.position <= waitlist_entries.position)";

const KNOWN_POSTGRES: &str = "\
    SELECT waitlist_entries.* FROM unnest($1::text[], $2::text[]) AS asked (user_id, key) \
    JOIN waitlist_entries ON waitlist_entries.user_id = asked.user_id \
        AND waitlist_entries.idempotency_key = asked.key";
const KNOWN_SQLITE: &str = "\
    SELECT waitlist_entries.* FROM json_each(?) AS asked \
    JOIN waitlist_entries ON waitlist_entries.user_id = asked.value ->> 0 \
        AND waitlist_entries.idempotency_key = asked.value ->> 1";

fn entry(row: Model, place: Option<i64>) -> WaitlistEntry {
    let status = match row.status.as_str() {
        "waiting" => WaitingStatus::Waiting,
        "offered" => WaitingStatus::Offered,
        _ => WaitingStatus::Left,
    };
    WaitlistEntry {
        id: row.id,
        product_id: row.product_id,
        user_id: Arc::from(row.user_id),
        quantity: row.quantity,
        position: place.filter(|_| status == WaitingStatus::Waiting),
        status,
        order_id: row.order_id,
        created_at: row.created_at,
    }
}

fn placed() -> sea_orm::Select<Entity> {
    Entity::find().expr_as(Expr::cust(PLACE), "place")
}

impl Store {
    /// The place of a user who waits for the product.
    pub async fn waiting(
        &self,
        product: ProductId,
        user: &UserId,
    ) -> Result<Option<WaitlistEntry>> {
        let query = placed()
            .filter(COLUMN.product_id.eq(product))
            .filter(Column::UserId.eq(&**user))
            .filter(Expr::cust("status = 'waiting'"))
            .into_model::<Placed>()
            .one(&self.read);
        let row = self.bounded(query).await?;
        Ok(row.map(|row| entry(row.entry, Some(row.place))))
    }

    /// A place by its id, also one that is no longer waited in.
    pub async fn entry(&self, id: Uuid) -> Result<Option<WaitlistEntry>> {
        let query = placed()
            .filter(Column::Id.eq(id))
            .into_model::<Placed>()
            .one(&self.read);
        let row = self.bounded(query).await?;
        Ok(row.map(|row| entry(row.entry, Some(row.place))))
    }

    /// Everything that a user waits for, newest first.
    pub async fn waiting_of(&self, user: &UserId, limit: u64) -> Result<Vec<WaitlistEntry>> {
        let query = placed()
            .filter(Column::UserId.eq(&**user))
            .filter(Expr::cust("status = 'waiting'"))
            .order_by_desc(Column::Position)
            .limit(limit)
            .into_model::<Placed>()
            .all(&self.read);
        let rows = self.bounded(query).await?;
        Ok(rows
            .into_iter()
            .map(|row| entry(row.entry, Some(row.place)))
            .collect())
    }
}

impl Transaction {
    /// The places that these users' keys stand for, whatever their product.
    pub async fn known_entries(
        &self,
        keys: &[(UserId, String)],
    ) -> Result<HashMap<(UserId, String), Known>> {
        let statement = self.pairs(KNOWN_POSTGRES, KNOWN_SQLITE, keys);
        let rows = Entity::find()
            .from_raw_sql(statement)
            .all(&self.inner)
            .await?;
        let mut known = HashMap::new();
        for mut row in rows {
            let Some(key) = row.idempotency_key.take() else {
                continue;
            };
            let request = row.idempotency_request.take().unwrap_or_default();
            let place = self.place(&row).await?;
            let answer = entry(row, Some(place));
            let name = (Arc::clone(&answer.user_id), key);
            let answer = Remembered::Entry(answer);
            known.insert(name, Known { answer, request });
        }
        Ok(known)
    }

    async fn place(&self, row: &Model) -> Result<i64> {
        let ahead = Entity::find()
            .filter(COLUMN.product_id.eq(row.product_id))
            .filter(Expr::cust("status = 'waiting'"))
            .filter(Column::Position.lte(row.position))
            .count(&self.inner)
            .await?;
        Ok(i64::try_from(ahead).unwrap_or(i64::MAX))
    }

    /// Which of these users wait for the product, and where.
    pub async fn waiting_users(
        &self,
        product: ProductId,
        users: &[UserId],
    ) -> Result<HashMap<UserId, WaitlistEntry>> {
        let users = users.iter().map(ToString::to_string).collect();
        let rows = placed()
            .filter(COLUMN.product_id.eq(product))
            .filter(Column::UserId.is_in(padded(users)))
            .filter(Expr::cust("status = 'waiting'"))
            .into_model::<Placed>()
            .all(&self.inner)
            .await?;
        let waiting = rows.into_iter().map(|row| {
            let entry = entry(row.entry, Some(row.place));
            (Arc::clone(&entry.user_id), entry)
        });
        Ok(waiting.collect())
    }

    /// How many wait for the product.
    pub async fn waiting_count(&self, product: ProductId) -> Result<u64> {
        Ok(Entity::find()
            .filter(COLUMN.product_id.eq(product))
            .filter(Expr::cust("status = 'waiting'"))
            .count(&self.inner)
            .await?)
    }

    /// The first up to `limit` who wait for no more than `units`.
    pub async fn queue(
        &self,
        product: ProductId,
        units: Option<i32>,
        limit: u64,
    ) -> Result<Vec<Queued>> {
        let mut query = Entity::find()
            .filter(COLUMN.product_id.eq(product))
            .filter(Expr::cust("status = 'waiting'"))
            .order_by_asc(Column::Position)
            .limit(limit);
        if let Some(units) = units {
            query = query.filter(Column::Quantity.lte(units));
        }
        let rows = query.all(&self.inner).await?;
        let queued = rows.into_iter().map(|row| Queued {
            id: row.id,
            user_id: Arc::from(row.user_id),
            quantity: row.quantity,
        });
        Ok(queued.collect())
    }

    /// Adds places at the end, in this order.
    pub async fn insert_entries(&self, entries: &[NewEntry]) -> Result<()> {
        for chunk in entries.chunks(ROWS) {
            Entity::insert_many(chunk.iter().map(row))
                .exec_without_returning(&self.inner)
                .await?;
        }
        Ok(())
    }

    /// Notes what was offered to whom; false when one of them no longer waits.
    pub async fn offer_entries(&self, offers: &[(Uuid, OrderId)]) -> Result<bool> {
        let mut written = 0;
        for chunk in offers.chunks(ROWS) {
            let mut orders = Expr::case(Expr::cust("FALSE"), Expr::col(Column::OrderId));
            for (entry, order) in chunk {
                orders = orders.case(Column::Id.eq(*entry), Expr::value(*order));
            }
            let ids = chunk.iter().map(|(entry, _)| *entry);
            let update = Entity::update_many()
                .col_expr(Column::OrderId, orders.into())
                .col_expr(Column::Status, Expr::value(WaitingStatus::Offered.name()))
                .filter(Column::Id.is_in(ids))
                .filter(Expr::cust("status = 'waiting'"));
            written += update.exec(&self.inner).await?.rows_affected;
        }
        Ok(usize::try_from(written) == Ok(offers.len()))
    }

    /// Takes users off the product's waitlist.
    pub async fn leave(&self, product: ProductId, users: &[UserId]) -> Result<()> {
        if users.is_empty() {
            return Ok(());
        }
        let users: Vec<_> = users.iter().map(ToString::to_string).collect();
        Entity::update_many()
            .col_expr(Column::Status, Expr::value(WaitingStatus::Left.name()))
            .filter(COLUMN.product_id.eq(product))
            .filter(Column::UserId.is_in(users))
            .filter(Expr::cust("status = 'waiting'"))
            .exec(&self.inner)
            .await?;
        Ok(())
    }

    /// Whether the place is there.
    pub async fn has_entry(&self, id: Uuid) -> Result<bool> {
        let count = Entity::find()
            .filter(Column::Id.eq(id))
            .count(&self.inner)
            .await?;
        Ok(count > 0)
    }
}

fn row(new: &NewEntry) -> ActiveModel {
    let NewEntry { entry, key } = new;
    ActiveModel {
        position: NotSet,
        id: Set(entry.id),
        product_id: Set(entry.product_id),
        user_id: Set(entry.user_id.to_string()),
        quantity: Set(entry.quantity),
        status: Set(entry.status.name().to_owned()),
        order_id: Set(entry.order_id),
        idempotency_key: Set(key.as_ref().map(|key| key.key.clone())),
        idempotency_request: Set(key.as_ref().map(|key| key.request.clone())),
        created_at: Set(entry.created_at),
    }
}
