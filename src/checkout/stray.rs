//! Stray payments: the gateway has taken money for an order that was confirmed otherwise, cancelled
//! or expired. They are recorded before they are refunded, and refunded until the gateway accepts.

use std::time::{Duration, Instant};

use super::{CALL_WITHIN, Error, Parts, write::About};
use crate::{
    domain::{OrderStatus, Payment, PaymentStatus},
    metrics, payment,
    store::{self, Lease, PaymentAttempt, StrayPayment},
};

/// Pause after the gateway has refused a refund, which an operator has to resolve.
const REFUSED_PAUSE: Duration = Duration::from_mins(10);

impl Parts {
    /// Refunds the payment, unless the order keeps it or has returned it.
    pub(super) async fn settle_stray(
        &self,
        attempt: &PaymentAttempt,
        payment: &Payment,
    ) -> Result<(), Error> {
        let id = attempt.order.id;
        let unknown = |_: store::Error| Error::OutcomeUnknown(id);
        let read = || self.store.order(id);
        let order = self
            .persist(About::MovedMoney, read)
            .await
            .map_err(unknown)?;
        if let Some(order) = order {
            if order.payment.is_none() && self.adopt(&order, &payment.id).await? {
                return Ok(());
            }
            let known = order.payment.is_some_and(|known| {
                known.id == payment.id && known.status != PaymentStatus::Declined
            });
            let open = matches!(order.status, OrderStatus::Pending | OrderStatus::Confirming);
            if known || open {
                return Ok(());
            }
        }
        let stray = StrayPayment {
            payment_id: payment.id.clone(),
            order_id: id,
            lease: Lease::now_v7(),
        };
        let (now, since) = (self.store.now(), Instant::now());
        let keep = || {
            self.store
                .keep_stray_payment(&stray, now, now + self.stale_after())
        };
        let kept = self.persist(About::MovedMoney, keep).await;
        tracing::error!(
            order = %id, payment = payment.id,
            "payment {} was taken for order {id}, which cannot be confirmed: refunding it",
            payment.id
        );
        // Else it was recorded before, and who did so refunds it.
        if kept.map_err(unknown)? {
            metrics::payments::stray();
            self.refund_stray(&stray, since).await?;
        }
        Ok(())
    }

    /// Requests the refund of the stray payment that this caller owns since then.
    pub(super) async fn refund_stray(
        &self,
        stray: &StrayPayment,
        since: Instant,
    ) -> Result<(), Error> {
        let gateway = self.gateway.as_ref().ok_or(Error::Disabled)?;
        let within = self.request_timeout.mul_f64(CALL_WITHIN);
        let within = within.saturating_sub(since.elapsed());
        let (order, id) = (stray.order_id, &*stray.payment_id);
        match gateway.refund_stray(order, id, within).await {
            Ok(()) => {
                let end = || self.store.end_stray_payment(id, self.store.now());
                self.persist(About::MovedMoney, end).await?;
                tracing::warn!(%order, payment = id, "payment {id} of order {order} is refunded");
                Ok(())
            }
            Err(payment::Error::NotCharged(_)) => {
                let due = self.store.now() + REFUSED_PAUSE;
                Ok(self.store.postpone_stray_payment(stray, due).await?)
            }
            Err(payment::Error::Unknown(_)) => Err(Error::OutcomeUnknown(order)),
        }
    }
}
