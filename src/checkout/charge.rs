//! Charges an order and writes the gateway's answer.

use std::time::Instant;

use super::{Confirmed, Error, Owned, Parts, write::About};
use crate::{
    domain::{OrderId, OrderStatus, Payment, UserId},
    metrics,
    payment::{self, Charge, ChargeResult, SendMode},
    store::{self, BeginPayment, Lease, NewPayment, PaymentAttempt, PaymentEnd},
};

/// The attempt as the gateway sees it.
pub(super) fn charge_of<'a>(
    attempt: &'a PaymentAttempt,
    intent: Option<&'a str>,
    mode: SendMode,
) -> Charge<'a> {
    let order = &attempt.order;
    Charge {
        order_id: order.id,
        amount: order.total,
        currency: &order.currency,
        payment_method: &attempt.payment_method,
        intent,
        attempt: attempt.number.unsigned_abs(),
        mode,
    }
}

impl Parts {
    pub(super) async fn confirm(
        &self,
        id: OrderId,
        user: &UserId,
        payment_method: &str,
    ) -> Result<Confirmed, Error> {
        let since = Instant::now();
        let new = NewPayment {
            order_id: id,
            user,
            payment_method,
            lease: Lease::now_v7(),
        };
        let begin = || self.store.begin_payment(&new, self.store.now());
        match self.begin(id, begin).await? {
            BeginPayment::Begun(attempt) => {
                self.charge(&Owned { attempt, since }, SendMode::First)
                    .await
            }
            BeginPayment::WrongStatus(OrderStatus::Confirming | OrderStatus::Confirmed) => {
                self.ask_again(id).await
            }
            BeginPayment::WrongStatus(status) => Ok(Confirmed::WrongStatus(status)),
            BeginPayment::Exhausted(end) => {
                metrics::payments::confirmation_refused("order");
                let left = (end - self.store.now()).to_std().unwrap_or_default();
                Ok(Confirmed::Exhausted(left))
            }
            BeginPayment::NotFound => Ok(Confirmed::NotFound),
        }
    }

    pub(super) async fn charge(&self, owned: &Owned, mode: SendMode) -> Result<Confirmed, Error> {
        let attempt = &owned.attempt;
        let order = &attempt.order;
        if order.total == 0 {
            return self.end(attempt, PaymentEnd::Free).await;
        }
        let gateway = self.gateway.as_ref().ok_or(Error::Disabled)?;
        let charge = charge_of(attempt, attempt.payment_id(), mode);
        let Some(within) = self.call_within(owned) else {
            return match mode {
                // This call has sent nothing; if another caller has, the lease is lost.
                SendMode::First => self.end_uncharged(attempt).await,
                SendMode::Retry => Err(Error::OutcomeUnknown(order.id)),
            };
        };
        match gateway.charge(&charge, within).await {
            Ok(ChargeResult::Paid(payment)) => self.end_paid(attempt, payment).await,
            Ok(ChargeResult::RequiresAction {
                intent,
                client_secret,
            }) => self.await_buyer(attempt, intent, client_secret).await,
            Ok(ChargeResult::Declined { intent, reason }) => {
                self.end_declined(attempt, intent, reason).await
            }
            Err(payment::Error::NotCharged(_)) => self.end_uncharged(attempt).await,
            Err(payment::Error::Unknown(_)) => Err(Error::OutcomeUnknown(order.id)),
        }
    }

    /// Returns the order to `pending`; the next attempt uses the intent, if there is one.
    pub(super) async fn end_declined(
        &self,
        attempt: &PaymentAttempt,
        intent: Option<String>,
        reason: String,
    ) -> Result<Confirmed, Error> {
        match self.end(attempt, PaymentEnd::Declined(intent)).await? {
            Confirmed::Done(order) if order.status == OrderStatus::Confirmed => {
                Ok(Confirmed::Done(order))
            }
            Confirmed::Done(_) | Confirmed::WrongStatus(OrderStatus::Pending) => {
                Ok(Confirmed::Declined { reason })
            }
            other @ (Confirmed::RequiresAction(_)
            | Confirmed::Declined { .. }
            | Confirmed::WrongStatus(_)
            | Confirmed::Exhausted(_)
            | Confirmed::NotFound) => Ok(other),
        }
    }

    /// Ends an attempt that has moved no money.
    async fn end_uncharged(&self, attempt: &PaymentAttempt) -> Result<Confirmed, Error> {
        match self.end(attempt, PaymentEnd::NotCharged).await? {
            Confirmed::Done(order) if order.status != OrderStatus::Confirmed => {
                Err(Error::Unavailable)
            }
            Confirmed::WrongStatus(OrderStatus::Pending) => Err(Error::Unavailable),
            other @ (Confirmed::Done(_)
            | Confirmed::RequiresAction(_)
            | Confirmed::Declined { .. }
            | Confirmed::WrongStatus(_)
            | Confirmed::Exhausted(_)
            | Confirmed::NotFound) => Ok(other),
        }
    }

    /// Confirms the order that the gateway has been paid for; if the order has ended otherwise,
    /// refunds the payment.
    pub(super) async fn end_paid(
        &self,
        attempt: &PaymentAttempt,
        payment: Payment,
    ) -> Result<Confirmed, Error> {
        let id = attempt.order.id;
        let ended = self.end(attempt, PaymentEnd::Paid(payment.clone())).await;
        if let Err(Error::OutcomeUnknown(_)) = &ended {
            tracing::error!(
                order = %id, payment = payment.id,
                "payment {} of order {id} was taken, but cannot be written", payment.id
            );
        }
        if let Ok(Confirmed::Done(order)) = &ended
            && order
                .payment
                .as_ref()
                .is_some_and(|paid| paid.id == payment.id)
        {
            return ended;
        }
        if let Ok(Confirmed::Done(_) | Confirmed::WrongStatus(_)) = &ended {
            self.settle_stray(attempt, &payment).await?;
        }
        ended
    }

    /// Writes the gateway's answer and publishes the change. When another caller has ended the
    /// attempt, reports what the order is now.
    async fn end(&self, attempt: &PaymentAttempt, end: PaymentEnd) -> Result<Confirmed, Error> {
        let id = attempt.order.id;
        let pays = matches!(end, PaymentEnd::Paid(_) | PaymentEnd::Free);
        let about = match end {
            PaymentEnd::Paid(_) => About::MovedMoney,
            PaymentEnd::Free | PaymentEnd::Declined(_) | PaymentEnd::NotCharged => About::NoMoney,
        };
        let write = || {
            self.store
                .end_payment(attempt, end.clone(), self.store.now())
        };
        let written = self.persist(about, write).await;
        let order = written.map_err(|_| Error::OutcomeUnknown(id))?;
        self.user_events
            .publish(vec![UserId::clone(&attempt.order.user_id)]);
        let Some(order) = order else {
            return self.ended_elsewhere(id).await;
        };
        if pays && attempt.from_waitlist {
            metrics::holds::offer_confirmed();
        }
        Ok(Confirmed::Done(Box::new(order)))
    }

    /// What became of an attempt that another caller owns or has ended.
    async fn ended_elsewhere(&self, id: OrderId) -> Result<Confirmed, Error> {
        let read = self.store.durable_order(id).await;
        let order = read.map_err(|_: store::Error| Error::OutcomeUnknown(id))?;
        let status = order.as_ref().map(|order| order.status);
        if status == Some(OrderStatus::Confirming) {
            return Err(Error::OutcomeUnknown(id));
        }
        Ok(Confirmed::read(order))
    }
}
