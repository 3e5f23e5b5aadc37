//! SQL for lists of orders. Those of a user are read by the user's index, newest id first; those of
//! all users by the time of the order, newest first.
//!
//! A list by product or by a frequent status examines a bounded number of orders a page: an index for
//! each would cost every sale.

use chrono::{DateTime, Utc};
use entities::{
    order_status::OrderStatus as Status,
    orders::{COLUMN, Column, Entity, Model},
};
use sea_orm::{
    ColumnTrait, Condition, ConnectionTrait, EntityTrait, ExprTrait, FromQueryResult, QueryFilter,
    QueryOrder, QuerySelect, QueryTrait, Select,
    sea_query::{Alias, Asterisk, Expr, Order as Direction, Query, SelectStatement},
};

use super::super::{Result, Store};
use crate::domain::{Order, OrderId, OrderStatus, ProductId, UserId};

/// Later than any order.
const END: DateTime<Utc> = DateTime::from_timestamp(253_402_300_799, 0).unwrap();

/// Orders that one page examines, which takes a few milliseconds.
const EXAMINED_MAX: u64 = 2_000;

/// The orders to list; `before` is the `next` of the previous page.
#[derive(Clone, Debug, Default)]
pub struct OrderFilter {
    pub user_id: Option<UserId>,
    pub product_id: Option<ProductId>,
    pub status: Option<OrderStatus>,
    /// Any of these references.
    pub references: Option<Vec<String>>,
    /// Orders of this time and later.
    pub from: Option<DateTime<Utc>>,
    /// Orders before this time.
    pub until: Option<DateTime<Utc>>,
    pub before: Option<OrderId>,
    pub limit: u64,
}

/// A page of orders. It can have fewer orders than `limit`, even none, although there is a `next` one.
#[derive(Clone, Debug, Default)]
pub struct OrderPage {
    pub orders: Vec<Order>,
    pub next: Option<OrderId>,
}

impl OrderFilter {
    /// The condition of a status that has an index by time, in the words of that index.
    fn indexed_status(&self) -> Option<&'static str> {
        match self.status? {
            OrderStatus::Confirming => Some("status = 'confirming'"),
            OrderStatus::Cancelled => Some("status = 'cancelled'"),
            OrderStatus::Expired => Some("status = 'expired'"),
            OrderStatus::Pending | OrderStatus::Confirmed => None,
        }
    }

    /// The conditions that the index of the list does not serve.
    fn conditions(&self) -> Vec<Expr> {
        let product = self.product_id.map(|id| COLUMN.product_id.eq(id));
        let of_user = self.user_id.is_some();
        let status = self.status;
        let status = status.filter(|_| of_user || self.indexed_status().is_none());
        let status = status.map(|status| Column::Status.eq(Status::from(status)));
        let from = self.from.map(|from| Column::CreatedAt.gte(from));
        let until = self.until.map(|until| Column::CreatedAt.lt(until));
        let times = [from, until].into_iter().flatten().filter(|_| of_user);
        product.into_iter().chain(status).chain(times).collect()
    }

    /// The first orders, newest first, of those that a page examines.
    fn select(&self, examined: Select<Entity>) -> SelectStatement {
        let conditions = self.conditions().into_iter();
        let mut select = Query::select()
            .column(Asterisk)
            .from_subquery(
                examined.limit(EXAMINED_MAX).into_query(),
                Alias::new("orders"),
            )
            .cond_where(conditions.fold(Condition::all(), Condition::add))
            .limit(self.limit)
            .take();
        if self.user_id.is_none() {
            select.order_by(Column::CreatedAt, Direction::Desc);
        }
        select.order_by(Column::Id, Direction::Desc);
        select
    }

    fn in_time(&self, mut query: Select<Entity>) -> Select<Entity> {
        if let Some(from) = self.from {
            query = query.filter(Column::CreatedAt.gte(from));
        }
        if let Some(until) = self.until {
            query = query.filter(Column::CreatedAt.lt(until));
        }
        query
    }
}

impl Store {
    /// The orders that match, newest id first.
    pub async fn orders(&self, filter: OrderFilter) -> Result<Vec<Order>> {
        let query = Entity::find().order_by_desc(COLUMN.id).limit(filter.limit);
        let mut query = filter.in_time(query);
        if let Some(user) = &filter.user_id {
            query = query.filter(Column::UserId.eq(&**user));
        }
        if let Some(product) = filter.product_id {
            query = query.filter(COLUMN.product_id.eq(product));
        }
        if let Some(status) = filter.status {
            query = query.filter(Column::Status.eq(Status::from(status)));
        }
        if let Some(references) = filter.references {
            query = query.filter(Column::Reference.is_in(references));
        }
        if let Some(before) = filter.before {
            query = query.filter(COLUMN.id.lt(before));
        }
        let rows = self.bounded(|| query.clone().all(&self.read)).await?;
        Ok(rows.into_iter().map(Order::from).collect())
    }

    /// A page of up to `limit` orders, newest first.
    pub async fn order_page(&self, mut filter: OrderFilter) -> Result<OrderPage> {
        let limit = filter.limit;
        filter.limit += 1;
        if filter.references.is_some() {
            return Ok(page(self.orders(filter).await?, limit));
        }
        let Some(examined) = self.examined(&filter).await? else {
            return Ok(OrderPage::default());
        };
        let select = filter.select(examined.clone());
        let page = page(self.orders_of_select(&select).await?, limit);
        if page.next.is_some() || filter.conditions().is_empty() {
            return Ok(page);
        }
        let last = examined
            .select_only()
            .column(Column::Id)
            .offset(EXAMINED_MAX - 1)
            .limit(1);
        let last = || last.clone().into_tuple::<OrderId>().one(&self.read);
        let next = self.bounded(last).await?;
        Ok(OrderPage { next, ..page })
    }

    /// The orders that the index of the list finds; `None` when `before` names no order.
    async fn examined(&self, filter: &OrderFilter) -> Result<Option<Select<Entity>>> {
        if let Some(user) = &filter.user_id {
            let query = Entity::find().order_by_desc(Column::Id);
            let mut query = query.filter(Column::UserId.eq(&**user));
            if let Some(before) = filter.before {
                query = query.filter(Column::Id.lt(before));
            }
            return Ok(Some(query));
        }
        let query = Entity::find()
            .order_by_desc(Column::CreatedAt)
            .order_by_desc(Column::Id);
        // SQLite uses the index only where a condition names its column.
        let mut query = filter.in_time(query).filter(Column::CreatedAt.lt(END));
        if let Some(status) = filter.indexed_status() {
            query = query.filter(Expr::cust(status));
        }
        if let Some(before) = filter.before {
            let Some(order) = self.order(before).await? else {
                return Ok(None);
            };
            let at = order.created_at;
            let earlier = Column::CreatedAt.lt(at).or(Column::Id.lt(before));
            query = query.filter(Column::CreatedAt.lte(at)).filter(earlier);
        }
        Ok(Some(query))
    }

    async fn orders_of_select(&self, select: &SelectStatement) -> Result<Vec<Order>> {
        let rows = self.bounded(|| self.read.query_all(select)).await?;
        let orders = rows
            .iter()
            .map(|row| Model::from_query_result(row, "").map(Order::from));
        Ok(orders.collect::<std::result::Result<_, _>>()?)
    }
}

/// Splits up to `limit + 1` orders into a page and the cursor of the next one.
fn page(mut orders: Vec<Order>, limit: u64) -> OrderPage {
    let limit = usize::try_from(limit).unwrap_or(usize::MAX);
    let more = orders.len() > limit;
    orders.truncate(limit);
    let next = orders.last().filter(|_| more).map(|order| order.id);
    OrderPage { orders, next }
}

#[cfg(test)]
mod tests {
    use chrono::TimeDelta;
    use sea_orm::sea_query::SqliteQueryBuilder;

    use super::*;
    use crate::store::sqlite_plans::{database, plan};

    /// Of all users, as an admin may ask for.
    fn filters() -> [OrderFilter; 4] {
        let day = Some(DateTime::<Utc>::UNIX_EPOCH + TimeDelta::days(20_000));
        let of_status = |status| OrderFilter {
            status: Some(status),
            limit: 50,
            ..OrderFilter::default()
        };
        [
            OrderFilter::default(),
            OrderFilter {
                from: day,
                product_id: Some(uuid::Uuid::nil()),
                ..OrderFilter::default()
            },
            of_status(OrderStatus::Pending),
            of_status(OrderStatus::Expired),
        ]
    }

    /// `tests/it/order_search.rs` reads the plans of PostgreSQL.
    #[tokio::test]
    async fn sqlite_reads_every_list_by_an_index_and_sorts_none() {
        let (_folder, store) = database().await;
        for filter in filters() {
            let query = store.examined(&filter).await.unwrap().unwrap();
            let (select, values) = filter.select(query).build(SqliteQueryBuilder);
            let plan = plan(&store, &select, values).await;
            assert!(plan.contains("created_at_idx"), "{filter:?}:\n{plan}");
            assert!(
                !plan.contains("TEMP B-TREE FOR ORDER BY"),
                "{filter:?}:\n{plan}"
            );
        }
    }
}
