//! Checkout: confirms orders with the payment gateway, refunds them, and recovers open payments.
//!
//! An order is `confirming` while the gateway is called, so it does not expire; no lock and no
//! transaction is held meanwhile. A call whose outcome is unknown after a crash or a time-out is
//! repeated as the same attempt, until the gateway has answered.

use std::{
    future::Future,
    sync::Arc,
    time::{Duration, Instant},
};

use tokio::sync::oneshot;

use crate::{
    domain::{Actor, Order, OrderId, OrderStatus, UserId, jitter},
    metrics,
    payment::{self, Charge, ChargeResult, Gateway, SendMode},
    sequencer::{ANSWER_WITHIN, Cancel, Cancellation, Sequencer},
    store::{self, BeginPayment, PaymentAttempt, PaymentEnd, Release, Store},
    tasks::Tasks,
    user_events::UserEvents,
};

/// The share of the request time-out that a gateway call may take.
const CALL_WITHIN: f64 = 0.7;
/// A payment is stale, and may be taken over, after this multiple of the request time-out.
const STALE_AFTER: f64 = 1.5;
/// Attempts to write the gateway's answer; after them the recovery repeats the call.
const END_WRITES_MAX: u32 = 4;
/// Pause between two of these attempts.
const END_PAUSE: Duration = Duration::from_millis(50);

/// The result of a confirmation.
#[derive(Clone, Debug)]
pub enum Confirmed {
    Done(Box<Order>),
    Declined {
        reason: String,
    },
    /// The order has this status, which forbids it.
    WrongStatus(OrderStatus),
    NotFound,
}

/// Why a confirmation or refund has no result.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// `PAYMENTS` is `none`.
    #[error("no payment gateway is configured")]
    Disabled,
    /// Nothing was charged or refunded.
    #[error("the payment gateway cannot be reached")]
    Unavailable,
    /// The recovery completes it, without the caller's help.
    #[error("the outcome is still unknown")]
    OutcomeUnknown(OrderId),
    #[error(transparent)]
    Store(#[from] store::Error),
}

/// The handle on checkout; clones share it.
#[derive(Clone, Debug)]
pub struct Checkout {
    parts: Arc<Parts>,
}

/// The services that checkout uses.
#[derive(Debug)]
pub struct Parts {
    pub store: Store,
    pub sequencer: Sequencer,
    pub gateway: Option<Gateway>,
    pub user_events: UserEvents,
    pub tasks: Tasks,
    pub request_timeout: Duration,
}

impl Checkout {
    pub fn new(parts: Parts) -> Self {
        Self {
            parts: Arc::new(parts),
        }
    }

    /// Charges a pending order and confirms it, also if the caller disconnects meanwhile.
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
        self.run_detached(id, began, work).await
    }

    /// Cancels a confirmed order: refunds the payment, then returns the units.
    pub async fn undo(
        &self,
        order: Order,
        actor: Arc<Actor>,
        began: Instant,
    ) -> Result<Cancel, Error> {
        if self.parts.gateway.is_none() && order.payment.is_some() {
            return Err(Error::Disabled);
        }
        let (parts, id) = (Arc::clone(&self.parts), order.id);
        let work = async move { parts.undo(order, actor, began).await };
        self.run_detached(id, began, work).await
    }

    /// Runs the work in a task of its own, so that it outlives its caller.
    async fn run_detached<T: Send + 'static>(
        &self,
        id: OrderId,
        began: Instant,
        work: impl Future<Output = Result<T, Error>> + Send + 'static,
    ) -> Result<T, Error> {
        let (sender, result) = oneshot::channel();
        self.parts.tasks.spawn("payment", async move {
            drop(sender.send(work.await));
        });
        let deadline = began + self.parts.request_timeout.mul_f64(ANSWER_WITHIN);
        match tokio::time::timeout_at(deadline.into(), result).await {
            Ok(Ok(result)) => result,
            Ok(Err(_)) | Err(_) => Err(Error::OutcomeUnknown(id)),
        }
    }

    /// Repeats the gateway calls of stale payments and refunds; returns their number.
    pub async fn recover_once(&self) -> Result<usize, store::Error> {
        let parts = &self.parts;
        let now = parts.store.now();
        let before = now - parts.request_timeout.mul_f64(STALE_AFTER);
        let stale = parts.store.take_over_stale_payments(before, now).await?;
        for attempt in &stale {
            if let Err(error) = parts.recover(attempt).await {
                let id = attempt.order.id;
                tracing::warn!(order = %id, "the payment of {id} is still open: {error}");
            }
        }
        Ok(stale.len())
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
        // A failed write may have been committed: then the recovery takes the payment over.
        let attempt = match begun.await.map_err(|_| Error::OutcomeUnknown(id))? {
            BeginPayment::Begun(attempt) => attempt,
            BeginPayment::WrongStatus(status) => return Ok(Confirmed::WrongStatus(status)),
            BeginPayment::NotFound => return Ok(Confirmed::NotFound),
        };
        self.charge(&attempt, SendMode::First).await
    }

    async fn charge(&self, attempt: &PaymentAttempt, mode: SendMode) -> Result<Confirmed, Error> {
        let order = &attempt.order;
        if order.total == 0 {
            return self.end(attempt, PaymentEnd::Free).await;
        }
        let gateway = self.gateway.as_ref().ok_or(Error::Disabled)?;
        let charge = Charge {
            order_id: order.id,
            amount: order.total,
            currency: &order.currency,
            payment_method: &attempt.payment_method,
            intent: attempt.payment_id(),
            attempt: attempt.number.unsigned_abs(),
            mode,
        };
        let within = self.request_timeout.mul_f64(CALL_WITHIN);
        match gateway.charge(&charge, within).await {
            Ok(ChargeResult::Paid(payment)) => self.end(attempt, PaymentEnd::Paid(payment)).await,
            Ok(ChargeResult::Declined { intent, reason }) => {
                self.end(attempt, PaymentEnd::Declined(intent)).await?;
                Ok(Confirmed::Declined { reason })
            }
            Err(payment::Error::NotCharged(_)) => {
                self.end(attempt, PaymentEnd::NotCharged).await?;
                Err(Error::Unavailable)
            }
            Err(payment::Error::Unknown(_)) => Err(Error::OutcomeUnknown(order.id)),
        }
    }

    /// Writes the gateway's answer and publishes the change.
    async fn end(&self, attempt: &PaymentAttempt, end: PaymentEnd) -> Result<Confirmed, Error> {
        let id = attempt.order.id;
        let pays = matches!(end, PaymentEnd::Paid(_) | PaymentEnd::Free);
        let written = self.write_end(attempt, end).await;
        let order = written.map_err(|_| Error::OutcomeUnknown(id))?;
        self.user_events
            .publish(vec![UserId::clone(&attempt.order.user_id)]);
        match order {
            Some(order) => {
                if pays && attempt.from_waitlist {
                    metrics::holds::offer_confirmed();
                }
                Ok(Confirmed::Done(Box::new(order)))
            }
            // Another node has written the gateway's answer first.
            None => Ok(match self.store.order(id).await? {
                Some(order) if order.status == OrderStatus::Confirmed => {
                    Confirmed::Done(Box::new(order))
                }
                Some(order) => Confirmed::WrongStatus(order.status),
                None => Confirmed::NotFound,
            }),
        }
    }

    /// Retries while a burst of payments occupies the database, because the buyer has paid. A retry
    /// of a write that had succeeded finds the order confirmed.
    async fn write_end(
        &self,
        attempt: &PaymentAttempt,
        end: PaymentEnd,
    ) -> Result<Option<Order>, store::Error> {
        let write = || {
            self.store
                .end_payment(attempt, end.clone(), self.store.now())
        };
        for _ in 1..END_WRITES_MAX {
            match write().await {
                Err(store::Error::Unreachable(_)) => tokio::time::sleep(jitter(END_PAUSE)).await,
                written => return written,
            }
        }
        write().await
    }

    async fn undo(&self, order: Order, actor: Arc<Actor>, began: Instant) -> Result<Cancel, Error> {
        if order.payment.is_some() {
            let now = self.store.now();
            let refund = self.store.begin_refund(order.id, now).await;
            match refund.map_err(|_| Error::OutcomeUnknown(order.id))? {
                BeginPayment::Begun(attempt) => self.refund(&attempt).await?,
                BeginPayment::WrongStatus(status) => return Ok(Cancel::WrongStatus(status)),
                BeginPayment::NotFound => return Ok(Cancel::NotFound),
            }
        }
        self.cancel(&order, actor, began).await
    }

    async fn refund(&self, attempt: &PaymentAttempt) -> Result<(), Error> {
        let id = attempt.order.id;
        let gateway = self.gateway.as_ref().ok_or(Error::Disabled)?;
        let payment = attempt.payment_id().unwrap_or_default();
        let within = self.request_timeout.mul_f64(CALL_WITHIN);
        match gateway.refund(id, payment, within).await {
            Ok(()) => Ok(()),
            Err(payment::Error::NotCharged(_)) => {
                self.store.abandon_refund(id).await?;
                Err(Error::Unavailable)
            }
            Err(payment::Error::Unknown(_)) => Err(Error::OutcomeUnknown(id)),
        }
    }

    async fn cancel(
        &self,
        order: &Order,
        actor: Arc<Actor>,
        began: Instant,
    ) -> Result<Cancel, Error> {
        let cancellation = Cancellation::of(order, Release::Undo, actor);
        let cancelled = self.sequencer.cancel(cancellation, began);
        // The payment is refunded; the units follow, at the latest with the recovery.
        cancelled.await.map_err(|_| Error::OutcomeUnknown(order.id))
    }

    /// Repeats the gateway call of an open payment or refund.
    async fn recover(&self, attempt: &PaymentAttempt) -> Result<(), Error> {
        match attempt.order.status {
            OrderStatus::Confirming => {
                self.charge(attempt, SendMode::Retry).await?;
            }
            OrderStatus::Confirmed => {
                self.refund(attempt).await?;
                let (order, now) = (&attempt.order, Instant::now());
                self.cancel(order, Actor::service(), now).await?;
            }
            OrderStatus::Pending | OrderStatus::Cancelled | OrderStatus::Expired => {}
        }
        Ok(())
    }
}
