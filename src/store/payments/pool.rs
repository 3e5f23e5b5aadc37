//! The connections of payments, which are never those of the lanes.
//!
//! PostgreSQL: a pool of their own. SQLite has one writing connection: one payment at a time waits
//! for it, so that an order waits for one payment at most, however many are under way.

use std::{future::Future, sync::Arc};

use sea_orm::{ConnAcquireErr, ConnectOptions, Database, DatabaseConnection, DbErr};
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    time::timeout,
};

use super::super::{Error, QUERY_TIMEOUT, Result, Store, Transaction, bounded, trust::Trust};
use crate::domain::{Order, OrderId};

#[derive(Clone, Debug)]
pub(in crate::store) struct Pool {
    own: Option<DatabaseConnection>,
    /// Statements that run or wait for a connection.
    places: Arc<Semaphore>,
}

impl Pool {
    pub(in crate::store) async fn connect(options: Option<ConnectOptions>) -> Result<Self> {
        let Some(options) = options else {
            let places = Arc::new(Semaphore::new(1));
            return Ok(Self { own: None, places });
        };
        let connections = options.get_max_connections().unwrap_or(1);
        let places = usize::try_from(connections).unwrap_or(1);
        Ok(Self {
            own: Some(Database::connect(options).await?),
            places: Arc::new(Semaphore::new(places)),
        })
    }

    /// The pool that only payments use.
    pub(in crate::store) fn own(&self) -> Option<&DatabaseConnection> {
        self.own.as_ref()
    }
}

impl Store {
    /// The connections for [`Store::bounded_payment`].
    pub(super) fn payments(&self) -> &DatabaseConnection {
        self.payments.own.as_ref().unwrap_or(&self.write)
    }

    /// Runs a write of a payment with a time limit.
    ///
    /// # Errors
    /// [`Error::Unreachable`], without having run it, when the others take too long.
    pub(super) async fn bounded_payment<T>(
        &self,
        query: impl Future<Output = std::result::Result<T, DbErr>>,
    ) -> Result<T> {
        let _place = self.payment_place().await?;
        self.noted(bounded(self.payment_trust(), QUERY_TIMEOUT, query).await)
    }

    /// Starts a transaction of a payment; the place is to be kept until it has ended.
    ///
    /// # Errors
    /// As of [`Store::bounded_payment`].
    pub(super) async fn payment_transaction(&self) -> Result<(OwnedSemaphorePermit, Transaction)> {
        let place = self.payment_place().await?;
        let transaction = self.begin_on(self.payments(), self.payment_trust()).await?;
        Ok((place, transaction))
    }

    /// Runs a transaction of a payment within the time of a query.
    pub(super) async fn in_payment_time<T>(
        &self,
        change: impl Future<Output = Result<T>>,
    ) -> Result<T> {
        self.in_time_on(self.payment_trust(), change).await
    }

    /// The order, once its row is as durable as a commit (see [`Transaction::end_durably`]): for
    /// answers that say that it was paid.
    pub async fn durable_order(&self, id: OrderId) -> Result<Option<Order>> {
        if !self.is_postgres() {
            return self.order(id).await;
        }
        let _place = self.payment_place().await?;
        let trust = self.payment_trust();
        let begin = self.begin_self_committing_on(self.payments(), trust);
        let transaction = begin.await?;
        self.in_payment_time(async {
            let order = transaction.order(id).await?;
            transaction.end_durably_for_order(id).await?;
            Ok(order)
        })
        .await
    }

    async fn payment_place(&self) -> Result<OwnedSemaphorePermit> {
        let place = Arc::clone(&self.payments.places).acquire_owned();
        match timeout(QUERY_TIMEOUT, place).await {
            Ok(Ok(place)) => Ok(place),
            Ok(Err(_)) | Err(_) => Err(Error::Unreachable(DbErr::ConnectionAcquire(
                ConnAcquireErr::Timeout,
            ))),
        }
    }

    fn payment_trust(&self) -> &Arc<Trust> {
        if self.payments.own.is_some() {
            &self.trust.payments
        } else {
            &self.trust.write
        }
    }
}
