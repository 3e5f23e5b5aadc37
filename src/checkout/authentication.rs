//! Payments that their buyer has to authenticate in the browser (3-D Secure).
//!
//! The order stays `confirming`, so its hold does not expire meanwhile. Who has the client secret
//! can make the payment succeed without the service; so such a payment ends only when the gateway
//! says that it has succeeded or that it is cancelled. Repeated confirmations, the gateway's
//! webhook and the recovery each ask the gateway, which alone decides.

use std::time::Instant;

use chrono::TimeDelta;
use futures::{StreamExt, stream};

use super::{Checkout, Confirmed, Error, Owned, Parts, charge::charge_of, write::About};
use crate::{
    domain::{Order, OrderId, Secret, UserId},
    payment::{ChargeResult, Gateway, SendMode},
    store::{self, BuyerAction, Lease, PaymentAttempt, WaitingPayment},
};

/// A buyer who repeats the confirmation makes the service ask the gateway once in this time.
const ASK_AGAIN_AFTER: TimeDelta = TimeDelta::seconds(1);
/// Waiting payments that one node asks the gateway about concurrently.
const ASKED_AT_ONCE: usize = 16;
/// The reason of a decline because the buyer took too long.
const TOO_LATE: &str = "authentication_timeout";

impl Checkout {
    /// Looks at the payment that the gateway's webhook has named.
    ///
    /// # Errors
    /// When the database or the gateway did not answer; the recovery asks later.
    pub async fn notice(
        &self,
        id: OrderId,
        payment_id: String,
        began: Instant,
    ) -> Result<(), Error> {
        let parts = std::sync::Arc::clone(&self.parts);
        let work = async move { parts.notice(id, &payment_id).await };
        self.run_detached(id, began, work).await
    }

    /// Asks about the waiting payments that are due; returns their number.
    pub async fn recover_waiting_once(&self) -> Result<usize, store::Error> {
        let parts = &self.parts;
        if parts.gateway.as_ref().and_then(Gateway::pause).is_some() {
            return Ok(0);
        }
        let (now, since) = (parts.store.now(), Instant::now());
        let due = parts.store.take_due_waiting_payments(Lease::now_v7(), now);
        let due = due.await?;
        let count = due.len();
        let settle = async |waiting: WaitingPayment| {
            let id = waiting.attempt.order.id;
            if let Err(error) = parts.settle_waiting(waiting, since).await {
                tracing::warn!(order = %id, "the payment of {id} still waits: {error}");
            }
        };
        stream::iter(due)
            .for_each_concurrent(ASKED_AT_ONCE, settle)
            .await;
        Ok(count)
    }
}

impl Parts {
    /// Writes that the buyer has to authenticate the payment, and tells the buyer how.
    pub(super) async fn await_buyer(
        &self,
        attempt: &PaymentAttempt,
        payment_id: String,
        client_secret: Secret,
    ) -> Result<Confirmed, Error> {
        let id = attempt.order.id;
        let action = BuyerAction {
            payment_id,
            client_secret,
            until: self.store.now() + self.authentication_timeout,
        };
        let write = || self.store.await_buyer(attempt, &action, self.store.now());
        let written = self.persist(About::NoMoney, write).await;
        let order = written.map_err(|_| Error::OutcomeUnknown(id))?;
        self.user_events
            .publish(vec![UserId::clone(&attempt.order.user_id)]);
        match order {
            Some(order) => Ok(requires_action(order, &action)),
            None => self.waiting_or_ended(id).await,
        }
    }

    /// Answers a repeated confirmation of an order that is `confirming` or `confirmed`.
    pub(super) async fn ask_again(&self, id: OrderId) -> Result<Confirmed, Error> {
        if self.store.waiting_payment(id).await?.is_some() {
            let (now, since) = (self.store.now(), Instant::now());
            let lease = Lease::now_v7();
            let take = self
                .store
                .take_waiting_payment(id, now - ASK_AGAIN_AFTER, lease, now);
            if let Some(waiting) = take.await? {
                match self.settle_waiting(waiting, since).await {
                    // Another caller asks too; the buyer sees what is known.
                    Err(Error::OutcomeUnknown(_)) => {}
                    settled => return settled,
                }
            }
        }
        self.waiting_or_ended(id).await
    }

    async fn waiting_or_ended(&self, id: OrderId) -> Result<Confirmed, Error> {
        if let Some(waiting) = self.store.waiting_payment(id).await? {
            return Ok(requires_action(waiting.attempt.order, &waiting.action));
        }
        Ok(Confirmed::read(self.store.durable_order(id).await?))
    }

    /// Asks the gateway for the payment's state, and ends the attempt where it has ended.
    async fn settle_waiting(
        &self,
        waiting: WaitingPayment,
        since: Instant,
    ) -> Result<Confirmed, Error> {
        let WaitingPayment { attempt, action } = waiting;
        let owned = Owned {
            attempt: Box::new(attempt),
            since,
        };
        let is_over = action.until <= self.store.now();
        let reason = match self.state(&owned, &action.payment_id).await {
            Ok(ChargeResult::Paid(payment)) => return self.end_paid(&owned.attempt, payment).await,
            Ok(ChargeResult::RequiresAction { .. }) | Err(_) if !is_over => {
                return Ok(requires_action(owned.attempt.order, &action));
            }
            Err(error) => return Err(error),
            Ok(ChargeResult::RequiresAction { .. }) => TOO_LATE.to_owned(),
            Ok(ChargeResult::Declined {
                intent: None,
                reason,
            }) => {
                return self.end_declined(&owned.attempt, None, reason).await;
            }
            // The buyer's browser could still try another card with the client secret.
            Ok(ChargeResult::Declined { reason, .. }) => reason,
        };
        match self.cancel_payment(&owned, &action.payment_id).await? {
            Some(paid) => Ok(paid),
            None => self.end_declined(&owned.attempt, None, reason).await,
        }
    }

    /// Cancels the waiting payment of an order at the gateway, so that the client secret is worthless;
    /// returns the order if the payment has succeeded first.
    pub(super) async fn end_waiting(&self, id: OrderId) -> Result<Option<Confirmed>, Error> {
        let (now, since) = (self.store.now(), Instant::now());
        let take = self
            .store
            .take_waiting_payment(id, now, Lease::now_v7(), now);
        let Some(WaitingPayment { attempt, action }) = take.await? else {
            return Ok(None);
        };
        let owned = Owned {
            attempt: Box::new(attempt),
            since,
        };
        self.cancel_payment(&owned, &action.payment_id).await
    }

    async fn state(&self, owned: &Owned, payment_id: &str) -> Result<ChargeResult, Error> {
        let (gateway, within) = self.callable(owned)?;
        let charge = charge_of(&owned.attempt, Some(payment_id), SendMode::Retry);
        let state = gateway.state(&charge, within).await;
        state.map_err(|_| Error::OutcomeUnknown(owned.attempt.order.id))
    }

    /// Cancels the payment at the gateway; returns the confirmation if it has succeeded first.
    async fn cancel_payment(
        &self,
        owned: &Owned,
        payment_id: &str,
    ) -> Result<Option<Confirmed>, Error> {
        let (gateway, within) = self.callable(owned)?;
        let charge = charge_of(&owned.attempt, Some(payment_id), SendMode::Retry);
        match gateway.cancel(&charge, within).await {
            Ok(ChargeResult::Paid(payment)) => {
                self.end_paid(&owned.attempt, payment).await.map(Some)
            }
            Ok(ChargeResult::Declined { intent: None, .. }) => Ok(None),
            Ok(ChargeResult::Declined { .. } | ChargeResult::RequiresAction { .. }) | Err(_) => {
                Err(Error::OutcomeUnknown(owned.attempt.order.id))
            }
        }
    }

    /// A success confirms an order whose payment is open, whatever caller owns the attempt: the answer
    /// to it may be lost. A success that no order keeps is refunded.
    async fn notice(&self, id: OrderId, payment_id: &str) -> Result<(), Error> {
        let (now, since) = (self.store.now(), Instant::now());
        if let Some(waiting) = self.store.waiting_payment(id).await? {
            if waiting.action.payment_id == payment_id {
                let take = self
                    .store
                    .take_waiting_payment(id, now, Lease::now_v7(), now);
                if let Some(waiting) = take.await? {
                    self.settle_waiting(waiting, since).await?;
                }
            }
            return Ok(());
        }
        let Some(attempt) = self.store.last_attempt(id).await? else {
            return Ok(());
        };
        if is_kept(&attempt.order, payment_id) {
            return Ok(());
        }
        let owned = Owned {
            attempt: Box::new(attempt),
            since,
        };
        if let ChargeResult::Paid(payment) = self.state(&owned, payment_id).await? {
            self.end_paid(&owned.attempt, payment).await?;
        }
        Ok(())
    }
}

/// Whether the order's payment is this one, and was taken.
fn is_kept(order: &Order, payment_id: &str) -> bool {
    let payment = order.payment.as_ref();
    payment.is_some_and(|payment| payment.id == payment_id && payment.was_taken())
}

fn requires_action(mut order: Order, action: &BuyerAction) -> Confirmed {
    if let Some(payment) = &mut order.payment {
        payment.client_secret = Some(action.client_secret.expose().to_owned());
    }
    Confirmed::RequiresAction(Box::new(order))
}
