//! SQL for the table `waitlist_entries`: entries and their positions.
//!
//! Only lanes write it, in the transaction that bumps their product's version. Triggers count the
//! waiting entries by blocks of positions in `waitlist_counts`.

use std::{collections::HashMap, sync::Arc};

use entities::{
    waitlist_entries::{COLUMN, Column, Entity, Model},
    waitlist_status::WaitlistStatus as Status,
};
use sea_orm::{
    ColumnTrait, EntityTrait, FromQueryResult, PaginatorTrait, QueryFilter, QueryOrder,
    QuerySelect, Select, sea_query::Expr,
};
use uuid::Uuid;

use super::{Result, Store, Transaction, padded};
use crate::domain::{ProductId, UserId, WaitlistEntry, WaitlistStatus};

mod by_key;
mod counts;
mod fitting;
mod queue;

pub use self::queue::{NewEntry, Queued};

/// An entry and its place: the number of waiting entries up to and including it.
#[derive(FromQueryResult)]
struct Placed {
    #[sea_orm(nested)]
    entry: Model,
    place: i64,
}

/// Subquery for the place of an entry. It adds the counted blocks before the entry, from the
/// largest to the smallest (`waitlist_counts`), and counts the entries of its own smallest block:
/// a few hundred rows at most, however many entries wait.
const PLACE: &str = "(\
    (SELECT COALESCE(SUM(waiting), 0) FROM waitlist_counts \
        WHERE waitlist_counts.product_id = waitlist_entries.product_id AND level = 3 \
        AND block < (waitlist_entries.position >> 24)) \
    + (SELECT COALESCE(SUM(waiting), 0) FROM waitlist_counts \
        WHERE waitlist_counts.product_id = waitlist_entries.product_id AND level = 2 \
        AND block >= ((waitlist_entries.position >> 24) << 8) \
        AND block < (waitlist_entries.position >> 16)) \
    + (SELECT COALESCE(SUM(waiting), 0) FROM waitlist_counts \
        WHERE waitlist_counts.product_id = waitlist_entries.product_id AND level = 1 \
        AND block >= ((waitlist_entries.position >> 16) << 8) \
        AND block < (waitlist_entries.position >> 8)) \
    + (SELECT COUNT(*) FROM waitlist_entries AS ahead \
        WHERE ahead.product_id = waitlist_entries.product_id AND ahead.status = 'waiting' \
        AND ahead.position >= ((waitlist_entries.position >> 8) << 8) \
        AND ahead.position <= waitlist_entries.position))";

impl From<Status> for WaitlistStatus {
    fn from(status: Status) -> Self {
        match status {
            Status::Waiting => Self::Waiting,
            Status::Offered => Self::Offered,
            Status::Left => Self::Left,
        }
    }
}

impl From<WaitlistStatus> for Status {
    fn from(status: WaitlistStatus) -> Self {
        match status {
            WaitlistStatus::Waiting => Self::Waiting,
            WaitlistStatus::Offered => Self::Offered,
            WaitlistStatus::Left => Self::Left,
        }
    }
}

fn entry(row: Model, place: Option<i64>) -> WaitlistEntry {
    let status = WaitlistStatus::from(row.status);
    WaitlistEntry {
        id: row.id,
        product_id: row.product_id,
        user_id: Arc::from(row.user_id),
        quantity: row.quantity,
        position: place.filter(|_| status == WaitlistStatus::Waiting),
        status,
        order_id: row.order_id,
        created_at: row.created_at,
    }
}

fn waiting_rows(product: ProductId, users: &[UserId]) -> Select<Entity> {
    let users = users.iter().map(ToString::to_string).collect();
    Entity::find()
        .filter(COLUMN.product_id.eq(product))
        .filter(Column::UserId.is_in(padded(users)))
        .filter(Expr::cust("status = 'waiting'"))
}

fn placed() -> Select<Entity> {
    Entity::find().expr_as(Expr::cust(PLACE), "place")
}

impl Store {
    /// The user's waiting entry for the product.
    pub async fn waiting_entry(
        &self,
        product: ProductId,
        user: &UserId,
    ) -> Result<Option<WaitlistEntry>> {
        let query = placed()
            .filter(COLUMN.product_id.eq(product))
            .filter(Column::UserId.eq(&**user))
            .filter(Expr::cust("status = 'waiting'"));
        let row = self
            .bounded(|| query.clone().into_model::<Placed>().one(&self.read))
            .await?;
        Ok(row.map(|row| entry(row.entry, Some(row.place))))
    }

    /// An entry by its id, with any status.
    pub async fn entry(&self, id: Uuid) -> Result<Option<WaitlistEntry>> {
        let query = placed().filter(Column::Id.eq(id));
        let row = self
            .bounded(|| query.clone().into_model::<Placed>().one(&self.read))
            .await?;
        Ok(row.map(|row| entry(row.entry, Some(row.place))))
    }

    /// Entries by their ids, with any status, oldest first.
    pub async fn entries(&self, ids: Vec<Uuid>) -> Result<Vec<WaitlistEntry>> {
        if ids.is_empty() {
            return Ok(Vec::new());
        }
        let query = placed()
            .filter(Column::Id.is_in(padded(ids)))
            .order_by_asc(Column::Position);
        let rows = self.bounded(|| query.clone().into_model::<Placed>().all(&self.read));
        let rows = rows.await?.into_iter();
        Ok(rows.map(|row| entry(row.entry, Some(row.place))).collect())
    }

    /// The waiting entries of a user, newest first.
    pub async fn waiting_entries(&self, user: &UserId, limit: u64) -> Result<Vec<WaitlistEntry>> {
        let query = placed()
            .filter(Column::UserId.eq(&**user))
            .filter(Expr::cust("status = 'waiting'"))
            .order_by_desc(Column::Position)
            .limit(limit);
        let rows = self
            .bounded(|| query.clone().into_model::<Placed>().all(&self.read))
            .await?;
        Ok(rows
            .into_iter()
            .map(|row| entry(row.entry, Some(row.place)))
            .collect())
    }
}

impl Transaction {
    /// The waiting entries of these users for the product, without their positions: a lane must not
    /// wait for a thousand of them.
    pub async fn entries_of_users(
        &self,
        product: ProductId,
        users: &[UserId],
    ) -> Result<HashMap<UserId, WaitlistEntry>> {
        let rows = waiting_rows(product, users).all(&self.inner).await?;
        let waiting = rows.into_iter().map(|row| {
            let entry = entry(row, None);
            (Arc::clone(&entry.user_id), entry)
        });
        Ok(waiting.collect())
    }

    /// Whether the product has this entry.
    pub async fn has_entry(&self, product: ProductId, id: Uuid) -> Result<bool> {
        let count = Entity::find()
            .filter(COLUMN.product_id.eq(product))
            .filter(Column::Id.eq(id))
            .count(&self.inner)
            .await?;
        Ok(count > 0)
    }

    /// Whether all of these entries of the product have left the waitlist.
    pub async fn have_left(&self, product: ProductId, ids: &[Uuid]) -> Result<bool> {
        if ids.is_empty() {
            return Ok(true);
        }
        let left = Entity::find()
            .filter(COLUMN.product_id.eq(product))
            .filter(Column::Id.is_in(padded(ids.to_vec())))
            .filter(Column::Status.eq(Status::Left))
            .count(&self.inner)
            .await?;
        Ok(usize::try_from(left) == Ok(ids.len()))
    }
}
