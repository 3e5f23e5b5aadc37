//! Confirms orders that were paid outside of the service.

use std::sync::Arc;

use super::{Checkout, Confirmed, Error};
use crate::{
    domain::{Actor, ExternalPayment, OrderId, UserId},
    metrics,
    store::ExternalConfirmation,
};

impl Checkout {
    /// Confirms a pending order with an outside payment; the same payment again changes nothing.
    pub async fn confirm_external(
        &self,
        id: OrderId,
        payment: &ExternalPayment,
        actor: &Arc<Actor>,
    ) -> Result<Confirmed, Error> {
        let parts = &self.parts;
        let confirm = parts.store.write_external_payment(id, payment, actor);
        Ok(match confirm.await? {
            ExternalConfirmation::Confirmed {
                order,
                from_waitlist,
            } => {
                let user = UserId::clone(&order.user_id);
                parts.user_events.publish(vec![user]);
                if from_waitlist {
                    metrics::holds::offer_confirmed();
                }
                Confirmed::Done(order)
            }
            ExternalConfirmation::Repeated(order) => Confirmed::Done(order),
            ExternalConfirmation::WrongStatus(status) => Confirmed::WrongStatus(status),
            ExternalConfirmation::NotFound => Confirmed::NotFound,
        })
    }
}
