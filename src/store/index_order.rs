//! Queries that PostgreSQL answers by an index, whatever it takes the sizes of the tables for.

use std::future::Future;

use sea_orm::{ConnectionTrait, DbErr, QueryResult, Statement, TransactionTrait};

use super::{Result, Store, Transaction};

const WITHOUT_SORTS: &str = "\
    SET LOCAL enable_seqscan = off; SET LOCAL enable_bitmapscan = off; SET LOCAL enable_sort = off";
/// The connections that write orders always go without sequential scans.
const WITH_SORTS: &str = "SET LOCAL enable_bitmapscan = on; SET LOCAL enable_sort = on";

impl Store {
    /// The rows of a query by an index, as in [`Transaction::in_order_of_index`].
    pub(super) async fn rows_in_order_of_index(
        &self,
        query: &Statement,
    ) -> Result<Vec<QueryResult>> {
        let search = async || {
            let transaction = Transaction::begun(self.read.begin().await?);
            let rows = transaction.inner.query_all_raw(query.clone());
            let rows = transaction.in_order_of_index(rows).await?;
            transaction.inner.commit().await?;
            Ok(rows)
        };
        self.bounded(search).await
    }
}

impl Transaction {
    /// Runs a query in an order that an index has, by that index. Until PostgreSQL has analyzed a
    /// table that grew, a minute later, it plans to read what seem to be a few rows in any order,
    /// and to sort them.
    pub(super) async fn in_order_of_index<T>(
        &self,
        query: impl Future<Output = std::result::Result<T, DbErr>>,
    ) -> std::result::Result<T, DbErr> {
        if !self.is_postgres() {
            return query.await;
        }
        self.inner.execute_unprepared(WITHOUT_SORTS).await?;
        let rows = query.await?;
        self.inner.execute_unprepared(WITH_SORTS).await?;
        Ok(rows)
    }
}
