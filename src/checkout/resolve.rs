//! A person ends a payment whose outcome the gateway does not report any more.

use std::{sync::Arc, time::Instant};

use super::{Checkout, Confirmed, Error, Parts, write::About};
use crate::{
    domain::{Actor, Order, OrderStatus, PaymentStatus, UserId},
    sequencer::Cancel,
    store::Found,
};

/// The result of a resolution.
#[derive(Clone, Debug)]
pub enum Resolved {
    Done(Box<Order>),
    /// No payment of the order is open; the order has this status.
    NotOpen(OrderStatus),
    NotFound,
}

impl Checkout {
    /// Ends the open payment, the open refund or the stray payments of the order. A payment that waits
    /// for its buyer is cancelled at the gateway first, where it could still succeed.
    pub async fn resolve(
        &self,
        order: Order,
        found: Found,
        actor: Arc<Actor>,
        began: Instant,
    ) -> Result<Resolved, Error> {
        let (parts, id) = (Arc::clone(&self.parts), order.id);
        let work = async move {
            if found == Found::Unpaid
                && parts.gateway.is_some()
                && let Some(Confirmed::Done(order)) = parts.end_waiting(id).await?
            {
                return Ok(Resolved::NotOpen(order.status));
            }
            let resolved = parts.store.resolve(&order, found, &actor).await?;
            parts.after_resolution(&order, resolved, actor, began).await
        };
        self.run_detached(id, began, work).await
    }
}

impl Parts {
    /// Publishes the change, and returns the units of a refunded order.
    async fn after_resolution(
        &self,
        order: &Order,
        resolved: Option<Order>,
        actor: Arc<Actor>,
        began: Instant,
    ) -> Result<Resolved, Error> {
        let Some(resolved) = resolved else {
            return Ok(match self.store.order(order.id).await? {
                Some(order) => Resolved::NotOpen(order.status),
                None => Resolved::NotFound,
            });
        };
        self.user_events
            .publish(vec![UserId::clone(&order.user_id)]);
        let is_refunding = resolved
            .payment
            .as_ref()
            .is_some_and(|payment| payment.status == PaymentStatus::Refunding);
        if resolved.status != OrderStatus::Confirmed || !is_refunding {
            return Ok(Resolved::Done(Box::new(resolved)));
        }
        Ok(match self.cancel(&resolved, actor, began).await? {
            Cancel::Done(order) => Resolved::Done(order),
            Cancel::WrongStatus(status) => Resolved::NotOpen(status),
            Cancel::NotFound => Resolved::NotFound,
        })
    }

    /// Gives a payment to the order that a person has confirmed without knowing its identifier.
    pub(super) async fn adopt(&self, order: &Order, payment_id: &str) -> Result<bool, Error> {
        let adopt = || self.store.adopt_payment(order.id, payment_id);
        let adopted = self.persist(About::MovedMoney, adopt).await;
        let adopted = adopted.map_err(|_| Error::OutcomeUnknown(order.id))?;
        Ok(adopted)
    }
}
