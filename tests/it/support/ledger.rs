//! Direct database access of the tests: reads, checks and writes rows without the service.

use std::{collections::BTreeMap, time::Duration};

use entities::{
    audit, order_status::OrderStatus, orders, products, waitlist_entries as entries,
    waitlist_status::WaitlistStatus,
};
use sea_orm::{
    ActiveModelTrait, ColumnTrait, ConnectOptions, ConnectionTrait, Database, DatabaseConnection,
    EntityTrait, QueryFilter, QueryOrder,
};
use uuid::Uuid;

use super::{SOON, eventually};

const WITHIN: Duration = Duration::from_secs(20);
/// Rows of one insert.
const INSERT_ROWS_MAX: usize = 1_000;

#[derive(Debug)]
pub(crate) struct Ledger {
    connection: DatabaseConnection,
}

impl Ledger {
    pub(crate) async fn open(url: &str) -> Self {
        Self {
            connection: connect(url).await,
        }
    }

    pub(crate) async fn product(&self, id: Uuid) -> products::Model {
        products::Entity::find_by_id(id)
            .one(&self.connection)
            .await
            .unwrap()
            .unwrap()
    }

    pub(crate) async fn orders(&self, product: Uuid) -> Vec<orders::Model> {
        orders::Entity::find()
            .filter(orders::Column::ProductId.eq(product))
            .all(&self.connection)
            .await
            .unwrap()
    }

    pub(crate) async fn order(&self, id: &str) -> orders::Model {
        let id: Uuid = id.parse().unwrap();
        let row = orders::Entity::find_by_id(id).one(&self.connection).await;
        row.unwrap().unwrap()
    }

    /// Writes every column of an existing order.
    pub(crate) async fn replace_order(&self, row: orders::Model) {
        let row = orders::ActiveModel::from(row).reset_all();
        row.update(&self.connection).await.unwrap();
    }

    /// The audit trail, oldest row first.
    pub(crate) async fn audit(&self) -> Vec<audit::Model> {
        audit::Entity::find()
            .order_by_asc(audit::Column::At)
            .order_by_asc(audit::Column::Id)
            .all(&self.connection)
            .await
            .unwrap()
    }

    pub(crate) async fn has_order(&self, id: &str) -> bool {
        let id: Uuid = id.parse().unwrap();
        orders::Entity::find_by_id(id)
            .one(&self.connection)
            .await
            .unwrap()
            .is_some()
    }

    /// Every entry of the product's waitlist, in the order of its sequence.
    pub(crate) async fn entries(&self, product: Uuid) -> Vec<entries::Model> {
        entries::Entity::find()
            .filter(entries::Column::ProductId.eq(product))
            .order_by_asc(entries::Column::Position)
            .all(&self.connection)
            .await
            .unwrap()
    }

    /// Users who wait for the product, in order.
    pub(crate) async fn queue(&self, product: Uuid) -> Vec<String> {
        let entries = self.entries(product).await.into_iter();
        let waiting = entries.filter(|entry| entry.status == WaitlistStatus::Waiting);
        waiting.map(|entry| entry.user_id).collect()
    }

    /// The status of the product's orders, live or ended, by user.
    pub(crate) async fn statuses(&self, product: Uuid) -> BTreeMap<String, OrderStatus> {
        let orders = self.orders(product).await.into_iter();
        orders.map(|order| (order.user_id, order.status)).collect()
    }

    /// Inserts rows without the service.
    pub(crate) async fn plant<M: ActiveModelTrait>(&self, rows: Vec<M>) {
        let mut rows = rows.into_iter().peekable();
        while rows.peek().is_some() {
            let chunk = rows.by_ref().take(INSERT_ROWS_MAX);
            let insert = M::Entity::insert_many(chunk);
            insert
                .exec_without_returning(&self.connection)
                .await
                .unwrap();
        }
    }

    /// Every row, to show that a refusal left no trace.
    pub(crate) async fn everything(&self) -> (Vec<products::Model>, Vec<orders::Model>) {
        let products = products::Entity::find()
            .order_by_asc(products::Column::Id)
            .all(&self.connection);
        let orders = orders::Entity::find()
            .order_by_asc(orders::Column::Id)
            .all(&self.connection);
        (products.await.unwrap(), orders.await.unwrap())
    }

    /// Units of live orders.
    pub(crate) async fn sold(&self, product: Uuid) -> i64 {
        let live = [
            OrderStatus::Pending,
            OrderStatus::Confirming,
            OrderStatus::Confirmed,
        ];
        let orders = self.orders(product).await;
        orders
            .iter()
            .filter(|o| live.contains(&o.status))
            .map(|o| i64::from(o.quantity))
            .sum()
    }

    /// `stock_total = stock + Σ quantity of live orders`, and no stock below zero.
    pub(crate) async fn assert_conserved(&self, product: Uuid) {
        // A hold may end between the reads.
        let (row, sold) = eventually("nothing is written between the reads", SOON, async || {
            let before = self.product(product).await;
            let sold = self.sold(product).await;
            let row = self.product(product).await;
            (row.version == before.version).then_some((row, sold))
        })
        .await;
        assert!(row.stock >= 0, "{row:?}");
        assert_eq!(
            i64::from(row.stock_total),
            i64::from(row.stock) + sold,
            "{row:?}"
        );
    }

    /// The error of a statement that the database refuses.
    pub(crate) async fn refusal(&self, sql: &str) -> String {
        let answer = self.connection.execute_unprepared(sql).await;
        answer.unwrap_err().to_string()
    }

    pub(crate) async fn execute(&self, sql: &str) {
        self.connection.execute_unprepared(sql).await.unwrap();
    }

    pub(crate) async fn texts(&self, sql: &str) -> Vec<String> {
        let statement =
            sea_orm::Statement::from_string(self.connection.get_database_backend(), sql);
        let rows = self.connection.query_all_raw(statement).await.unwrap();
        rows.iter()
            .map(|row| row.try_get_by_index(0).unwrap())
            .collect()
    }
}

/// One connection, so that a pragma that a test sets stays set.
pub(crate) async fn connect(url: &str) -> DatabaseConnection {
    let mut options = ConnectOptions::new(url);
    options
        .max_connections(1)
        .connect_timeout(WITHIN)
        .acquire_timeout(WITHIN)
        .sqlx_logging(false);
    Database::connect(options).await.unwrap()
}
