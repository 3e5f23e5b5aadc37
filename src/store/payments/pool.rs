//! The connections of payments, which are never those of the lanes.
//!
//! PostgreSQL: a pool of their own. SQLite has one writing connection: one payment at a time waits
//! for it, so that an order waits for one payment at most, however many are under way.

use std::{future::Future, sync::Arc};

use sea_orm::{ConnAcquireErr, ConnectOptions, Database, DatabaseConnection, DbErr};
use tokio::{sync::Semaphore, time::timeout};

use super::super::{Error, QUERY_TIMEOUT, Result, Store, bounded};

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
        let place = timeout(QUERY_TIMEOUT, self.payments.places.acquire()).await;
        let Ok(Ok(_place)) = place else {
            return Err(Error::Unreachable(DbErr::ConnectionAcquire(
                ConnAcquireErr::Timeout,
            )));
        };
        let trust = if self.payments.own.is_some() {
            &self.trust.payments
        } else {
            &self.trust.write
        };
        self.noted(bounded(trust, QUERY_TIMEOUT, query).await)
    }
}
