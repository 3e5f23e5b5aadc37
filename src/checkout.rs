//! Takes orders through the payment gateway, and back.
//!
//! An order is `confirming` while the gateway is asked, which keeps it from expiring; no lock and
//! no transaction is held meanwhile. Whatever a crash or a silent gateway leaves open is asked
//! again, as the same attempt, until the gateway has said what became of it.

use std::{
    future::Future,
    sync::Arc,
    time::{Duration, Instant},
};

use tokio::sync::oneshot;

use crate::{
    domain::{Order, OrderId, OrderStatus, UserId, jitter},
    metrics,
    news::News,
    payment::{self, Charge, Charged, Gateway},
    sequencer::{ANSWER_WITHIN, Cancel, Sequencer},
    store::{self, Asked, Begun, PaymentEnd, Release, Store},
    tasks::Tasks,
};

/// The share of a request's time that the gateway may take.
const ASK_WITHIN: f64 = 0.7;
/// Nobody works on a payment any more after so many times a request's time.
const FORGOTTEN_AFTER: f64 = 1.5;
/// How often it is tried to write what the gateway said, before that is left to be settled later.
const END_WRITES_MAX: u32 = 4;
/// Between two of these tries.
const END_PAUSE: Duration = Duration::from_millis(50);

/// What became of a confirmation.
#[derive(Clone, Debug)]
pub enum Confirmed {
    Done(Box<Order>),
    Declined {
        reason: String,
    },
    /// The order is this.
    Not(OrderStatus),
    NotFound,
}

/// Why it is not known, or was not tried.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("no gateway is set")]
    Disabled,
    /// Nothing was charged or given back.
    #[error("the gateway cannot be reached")]
    Unavailable,
    /// It will be known later, without the caller's help.
    #[error("the outcome is not known yet")]
    OutcomeUnknown(OrderId),
    #[error(transparent)]
    Store(#[from] store::Error),
}

/// The way of orders to the gateway; clones share it.
#[derive(Clone, Debug)]
pub struct Checkout {
    parts: Arc<Parts>,
}

#[derive(Debug)]
struct Parts {
    store: Store,
    sequencer: Sequencer,
    gateway: Option<Gateway>,
    news: News,
    tasks: Tasks,
    request_timeout: Duration,
}

impl Checkout {
    pub fn new(
        (store, sequencer): (Store, Sequencer),
        gateway: Option<Gateway>,
        news: News,
        tasks: Tasks,
        request_timeout: Duration,
    ) -> Self {
        let parts = Parts {
            store,
            sequencer,
            gateway,
            news,
            tasks,
            request_timeout,
        };
        Self {
            parts: Arc::new(parts),
        }
    }

    /// Charges for a pending order and confirms it. A caller who goes away changes nothing.
    pub async fn confirm(
        &self,
        order: &Order,
        payment_method: String,
        began: Instant,
    ) -> Result<Confirmed, Error> {
        if self.parts.gateway.is_none() && order.total > 0 {
            return Err(Error::Disabled);
        }
        let (parts, id) = (Arc::clone(&self.parts), order.id);
        let user = UserId::clone(&order.user_id);
        let work = async move { parts.confirm(id, &user, &payment_method).await };
        self.see_through(id, began, work).await
    }

    /// Cancels a confirmed order, and gives the money back before the units.
    pub async fn undo(&self, order: Order, began: Instant) -> Result<Cancel, Error> {
        if self.parts.gateway.is_none() && order.payment.is_some() {
            return Err(Error::Disabled);
        }
        let (parts, id) = (Arc::clone(&self.parts), order.id);
        let work = async move { parts.undo(order, began).await };
        self.see_through(id, began, work).await
    }

    /// Does the work whether its caller stays or not.
    async fn see_through<T: Send + 'static>(
        &self,
        id: OrderId,
        began: Instant,
        work: impl Future<Output = Result<T, Error>> + Send + 'static,
    ) -> Result<T, Error> {
        let (tell, told) = oneshot::channel();
        self.parts.tasks.spawn("payment", async move {
            drop(tell.send(work.await));
        });
        let deadline = began + self.parts.request_timeout.mul_f64(ANSWER_WITHIN);
        match tokio::time::timeout_at(deadline.into(), told).await {
            Ok(Ok(answer)) => answer,
            Ok(Err(_)) | Err(_) => Err(Error::OutcomeUnknown(id)),
        }
    }

    /// Settles what was left open; says how many payments it took up.
    pub async fn recover_once(&self) -> Result<usize, store::Error> {
        let parts = &self.parts;
        let now = parts.store.now();
        let before = now - parts.request_timeout.mul_f64(FORGOTTEN_AFTER);
        let forgotten = parts.store.take_forgotten(before, now).await?;
        for asked in &forgotten {
            if let Err(error) = parts.recover(asked).await {
                let id = asked.order.id;
                tracing::warn!(order = %id, "the payment of {id} is still open: {error}");
            }
        }
        Ok(forgotten.len())
    }
}

impl Parts {
    async fn confirm(
        &self,
        id: OrderId,
        user: &UserId,
        payment_method: &str,
    ) -> Result<Confirmed, Error> {
        let now = self.store.now();
        let begun = self.store.begin_payment(id, user, payment_method, now);
        // It may have been written: then it is settled like what a crash leaves behind.
        let asked = match begun.await.map_err(|_| Error::OutcomeUnknown(id))? {
            Begun::Asked(asked) => asked,
            Begun::Not(status) => return Ok(Confirmed::Not(status)),
            Begun::NoSuchOrder => return Ok(Confirmed::NotFound),
        };
        self.charge(&asked, payment::Asked::First).await
    }

    async fn charge(&self, asked: &Asked, before: payment::Asked) -> Result<Confirmed, Error> {
        let order = &asked.order;
        if order.total == 0 {
            return self.end(asked, PaymentEnd::Free).await;
        }
        let gateway = self.gateway.as_ref().ok_or(Error::Disabled)?;
        let charge = Charge {
            order_id: order.id,
            amount: order.total,
            currency: &order.currency,
            payment_method: &asked.payment_method,
            intent: asked.payment_id(),
            attempt: asked.attempt.unsigned_abs(),
            asked: before,
        };
        let within = self.request_timeout.mul_f64(ASK_WITHIN);
        match gateway.charge(&charge, within).await {
            Ok(Charged::Paid(payment)) => self.end(asked, PaymentEnd::Paid(payment)).await,
            Ok(Charged::Declined { intent, reason }) => {
                self.end(asked, PaymentEnd::Declined(intent)).await?;
                Ok(Confirmed::Declined { reason })
            }
            Err(payment::Error::NotCharged(_)) => {
                self.end(asked, PaymentEnd::NotAsked).await?;
                Err(Error::Unavailable)
            }
            Err(payment::Error::Unknown(_)) => Err(Error::OutcomeUnknown(order.id)),
        }
    }

    /// Writes what the gateway said.
    async fn end(&self, asked: &Asked, end: PaymentEnd) -> Result<Confirmed, Error> {
        let id = asked.order.id;
        let pays = matches!(end, PaymentEnd::Paid(_) | PaymentEnd::Free);
        let written = self.write_end(asked, end).await;
        let order = written.map_err(|_| Error::OutcomeUnknown(id))?;
        self.news
            .concerns(vec![UserId::clone(&asked.order.user_id)]);
        match order {
            Some(order) => {
                if pays && asked.from_waitlist {
                    metrics::holds::offer_confirmed();
                }
                Ok(Confirmed::Done(Box::new(order)))
            }
            // Another node settled it first, by the same word of the gateway.
            None => Ok(match self.store.order(id).await? {
                Some(order) if order.status == OrderStatus::Confirmed => {
                    Confirmed::Done(Box::new(order))
                }
                Some(order) => Confirmed::Not(order.status),
                None => Confirmed::NotFound,
            }),
        }
    }

    /// Where a rush of payments has kept the database from this one, it is tried again: its buyer
    /// has paid. Tried once too often it finds the order as it was to be.
    async fn write_end(
        &self,
        asked: &Asked,
        end: PaymentEnd,
    ) -> Result<Option<Order>, store::Error> {
        let write = || self.store.end_payment(asked, end.clone(), self.store.now());
        for _ in 1..END_WRITES_MAX {
            match write().await {
                Err(store::Error::Unreachable(_)) => tokio::time::sleep(jitter(END_PAUSE)).await,
                written => return written,
            }
        }
        write().await
    }

    async fn undo(&self, order: Order, began: Instant) -> Result<Cancel, Error> {
        if order.payment.is_some() {
            let now = self.store.now();
            let refund = self.store.begin_refund(order.id, now).await;
            match refund.map_err(|_| Error::OutcomeUnknown(order.id))? {
                Begun::Asked(asked) => self.refund(&asked).await?,
                Begun::Not(status) => return Ok(Cancel::Not(status)),
                Begun::NoSuchOrder => return Ok(Cancel::NotFound),
            }
        }
        self.cancel(&order, began).await
    }

    async fn refund(&self, asked: &Asked) -> Result<(), Error> {
        let id = asked.order.id;
        let gateway = self.gateway.as_ref().ok_or(Error::Disabled)?;
        let payment = asked.payment_id().unwrap_or_default();
        let within = self.request_timeout.mul_f64(ASK_WITHIN);
        match gateway.refund(id, payment, within).await {
            Ok(()) => Ok(()),
            Err(payment::Error::NotCharged(_)) => {
                self.store.forget_refund(id).await?;
                Err(Error::Unavailable)
            }
            Err(payment::Error::Unknown(_)) => Err(Error::OutcomeUnknown(id)),
        }
    }

    async fn cancel(&self, order: &Order, began: Instant) -> Result<Cancel, Error> {
        let cancelled = self
            .sequencer
            .cancel(order.product_id, order.id, Release::Undo, began);
        // The money is back: the units follow, at the latest with the next look.
        cancelled.await.map_err(|_| Error::OutcomeUnknown(order.id))
    }

    /// Asks again about an order whose payment or refund was left open.
    async fn recover(&self, asked: &Asked) -> Result<(), Error> {
        match asked.order.status {
            OrderStatus::Confirming => {
                self.charge(asked, payment::Asked::Again).await?;
            }
            OrderStatus::Confirmed => {
                self.refund(asked).await?;
                self.cancel(&asked.order, Instant::now()).await?;
            }
            OrderStatus::Pending | OrderStatus::Cancelled | OrderStatus::Expired => {}
        }
        Ok(())
    }
}
