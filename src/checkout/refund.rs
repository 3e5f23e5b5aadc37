//! Cancels a confirmed order: refunds the payment, records it, then returns the units.

use std::{sync::Arc, time::Instant};

use super::{Error, Owned, Parts, charge::charge_of, write::About};
use crate::{
    domain::{Actor, Order, OrderStatus},
    payment::{self, SendMode},
    sequencer::{Cancel, Cancellation},
    store::{BeginPayment, Lease, Release},
};

impl Parts {
    pub(super) async fn undo(
        &self,
        order: Order,
        actor: Arc<Actor>,
        began: Instant,
    ) -> Result<Cancel, Error> {
        if order.payment.is_none() {
            let cancellation = Cancellation::of(&order, Release::Undo, actor);
            return Ok(self.sequencer.cancel(cancellation, began).await?);
        }
        let (lease, since) = (Lease::now_v7(), Instant::now());
        let write = || self.store.begin_refund(order.id, lease, &actor);
        match self.begin(order.id, write).await? {
            BeginPayment::Begun(attempt) => self.refund(&Owned { attempt, since }).await?,
            BeginPayment::WrongStatus(status) => return Ok(Cancel::WrongStatus(status)),
            // Only said of pending orders.
            BeginPayment::Exhausted(_) => return Ok(Cancel::WrongStatus(OrderStatus::Pending)),
            BeginPayment::NotFound => return Ok(Cancel::NotFound),
        }
        self.cancel(&order, actor, began).await
    }

    /// Refunds the payment and records it, so that any node may return the units.
    pub(super) async fn refund(&self, owned: &Owned) -> Result<(), Error> {
        let attempt = &owned.attempt;
        let id = attempt.order.id;
        if attempt.is_refunded {
            return Ok(());
        }
        let (gateway, within) = self.callable(owned)?;
        let charge = charge_of(attempt, attempt.payment_id(), SendMode::Retry);
        match gateway.refund(&charge, within).await {
            Ok(()) => {
                let record = || self.store.record_refund(attempt, self.store.now());
                let recorded = self.persist(About::MovedMoney, record).await;
                recorded.map_err(|_| Error::OutcomeUnknown(id))
            }
            Err(payment::Error::NotCharged(_)) => {
                if self.store.abandon_refund(attempt).await? {
                    Err(Error::Unavailable)
                } else {
                    Err(Error::OutcomeUnknown(id))
                }
            }
            Err(payment::Error::Unknown(_)) => Err(Error::OutcomeUnknown(id)),
        }
    }

    /// Returns the units of a refunded order.
    pub(super) async fn cancel(
        &self,
        order: &Order,
        actor: Arc<Actor>,
        began: Instant,
    ) -> Result<Cancel, Error> {
        let cancellation = Cancellation::of(order, Release::Undo, actor);
        let cancelled = self.sequencer.cancel(cancellation, began);
        // The payment is refunded; the units follow, at the latest with the recovery.
        let unknown = Error::OutcomeUnknown(order.id);
        match cancelled.await {
            // Another node was faster.
            Ok(Cancel::WrongStatus(OrderStatus::Cancelled)) => {
                match self.store.order(order.id).await? {
                    Some(order) => Ok(Cancel::Done(Box::new(order))),
                    None => Ok(Cancel::NotFound),
                }
            }
            Ok(cancelled) => Ok(cancelled),
            Err(_) => Err(unknown),
        }
    }
}
