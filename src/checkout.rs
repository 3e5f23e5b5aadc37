//! Checkout: confirms orders with the payment gateway, refunds them, and recovers open payments.
//!
//! An order is `confirming` while the gateway is called, so it does not expire; no lock and no
//! transaction is held meanwhile. A call whose outcome is unknown after a crash or a time-out is
//! repeated as the same attempt, until the gateway has answered. Who calls the gateway owns the
//! attempt by its lease; a caller that was paused until another has taken the payment over can
//! neither call nor end it. Money that the gateway has taken is confirmed or refunded, also when
//! its reporter does not own the attempt.

use std::{
    future::Future,
    sync::Arc,
    time::{Duration, Instant},
};

use tokio::sync::oneshot;

use crate::{
    domain::{Actor, Order, OrderId, OrderStatus, UserId},
    payment::{Gateway, simulated::Simulated},
    sequencer::{self, ANSWER_WITHIN, Cancel, Sequencer},
    store::{self, PaymentAttempt, Store},
    tasks::Tasks,
    telemetry::request,
    user_events::UserEvents,
};

mod authentication;
mod charge;
mod external;
mod recovery;
mod refund;
mod resolve;
mod stray;
mod write;

pub use self::resolve::Resolved;

/// The share of the request time-out, from the start of the attempt, that a gateway call may take.
const CALL_WITHIN: f64 = 0.7;
/// A payment is stale, and may be taken over, after this multiple of the request time-out.
const STALE_AFTER: f64 = 1.5;

/// The result of a confirmation.
#[derive(Clone, Debug)]
pub enum Confirmed {
    Done(Box<Order>),
    /// The buyer has to authenticate the payment of this order, with its payment's client secret.
    RequiresAction(Box<Order>),
    Declined {
        reason: String,
    },
    /// The order has this status, which forbids it.
    WrongStatus(OrderStatus),
    /// Too many payments of this order were declined; its hold ends after this long.
    Exhausted(Duration),
    NotFound,
}

impl Confirmed {
    /// What an order that was read says about its confirmation.
    fn read(order: Option<Order>) -> Self {
        match order {
            Some(order) if order.status == OrderStatus::Confirmed => Self::Done(Box::new(order)),
            Some(order) => Self::WrongStatus(order.status),
            None => Self::NotFound,
        }
    }
}

/// Why a confirmation or refund has no result.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// `PAYMENTS` is `none`.
    #[error("no payment gateway is configured")]
    Disabled,
    /// Nothing was charged or refunded.
    #[error("the payment gateway or the database cannot be reached")]
    Unavailable,
    /// If the payment or the refund has begun, the recovery completes it without the caller's help.
    #[error("the outcome is still unknown")]
    OutcomeUnknown(OrderId),
    /// The cancellation of an order without a payment.
    #[error(transparent)]
    Sequencer(#[from] sequencer::Error),
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
    /// How long a buyer may take to authenticate a payment.
    pub authentication_timeout: Duration,
}

/// An attempt whose lease this caller has written.
#[derive(Debug)]
struct Owned {
    attempt: Box<PaymentAttempt>,
    /// When the lease was about to be written.
    since: Instant,
}

impl Checkout {
    pub fn new(parts: Parts) -> Self {
        Self {
            parts: Arc::new(parts),
        }
    }

    /// Whether orders with a price can be paid here; else an admin has to confirm them.
    pub fn takes_payments(&self) -> bool {
        self.parts.gateway.is_some()
    }

    /// The simulated gateway, where it is the configured one.
    pub fn simulated(&self) -> Option<&Simulated> {
        match self.parts.gateway.as_ref()? {
            Gateway::Simulated(simulated) => Some(simulated),
            Gateway::Stripe(_) => None,
        }
    }

    /// Charges a pending order and confirms it, also if the caller disconnects meanwhile. An order
    /// that is confirmed already is `Done`: its buyer may have lost the first answer.
    pub async fn confirm(
        &self,
        order: &Order,
        payment_method: String,
        began: Instant,
    ) -> Result<Confirmed, Error> {
        if order.status == OrderStatus::Confirmed {
            let order = self.parts.store.durable_order(order.id).await?;
            return Ok(Confirmed::read(order));
        }
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
        let work = request::carry(work);
        self.parts.tasks.spawn("payment", async move {
            drop(sender.send(work.await));
        });
        let deadline = began + self.parts.request_timeout.mul_f64(ANSWER_WITHIN);
        match tokio::time::timeout_at(deadline.into(), result).await {
            Ok(Ok(result)) => result,
            Ok(Err(_)) | Err(_) => Err(Error::OutcomeUnknown(id)),
        }
    }
}

impl Parts {
    /// How long a gateway call of this attempt may take; `None` when another caller may soon take
    /// the attempt over, because this one was paused.
    fn call_within(&self, owned: &Owned) -> Option<Duration> {
        let end = owned.since + self.request_timeout.mul_f64(CALL_WITHIN);
        let left = end.checked_duration_since(Instant::now())?;
        (!left.is_zero()).then_some(left)
    }

    /// The gateway, and how long a call of this attempt may take.
    fn callable(&self, owned: &Owned) -> Result<(&Gateway, Duration), Error> {
        let gateway = self.gateway.as_ref().ok_or(Error::Disabled)?;
        let within = self.call_within(owned);
        let within = within.ok_or(Error::OutcomeUnknown(owned.attempt.order.id))?;
        Ok((gateway, within))
    }

    fn stale_after(&self) -> Duration {
        self.request_timeout.mul_f64(STALE_AFTER)
    }
}
