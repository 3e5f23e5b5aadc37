//! What becomes of held orders after the load: they all end, or all are paid for at once.

use std::time::{Duration, Instant};

use flash_sale::{domain::OrderStatus, store::Store};
use serde_json::json;
use tokio::task::JoinSet;

use super::{Asking, Told};
use crate::{
    checks::{Confirmed, Evidence},
    client::Address,
    record::Shot,
    shop::Api,
};

/// Beyond the holds themselves, on a slow machine.
const GRACE: Duration = Duration::from_secs(15);
const LOOK_EVERY: Duration = Duration::from_millis(100);

impl Asking<'_> {
    /// Waits until the orders that were told have ended and who waited has theirs; what is not so
    /// by then, the checks find.
    pub(super) async fn until_over(
        &mut self,
        evidence: &Evidence,
        store: Option<&Store>,
        hold: Duration,
    ) -> anyhow::Result<()> {
        let deadline = Instant::now() + hold + GRACE;
        loop {
            let mut is_over = true;
            for offer in &self.load.offers {
                let admin = &self.load.crowd.admin.token;
                let book = self.api.book(offer, store, admin).await?;
                let told = |id| evidence.buys().any(|shot| shot.answer.order == Some(id));
                let pending = book
                    .orders
                    .iter()
                    .filter(|order| order.status == OrderStatus::Pending);
                is_over &= !pending.into_iter().any(|order| told(order.id));
            }
            if is_over || Instant::now() > deadline {
                return Ok(());
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }

    /// Every winner pays in the same moment.
    pub(super) async fn pay_rush(&self, winners: &[Shot], doors: &[Address]) -> Vec<Confirmed> {
        let mut paying = JoinSet::new();
        for (shot, door) in winners.iter().zip(doors.iter().cycle()) {
            let token = self.load.crowd.buyer(shot.planned.user).token.clone();
            let order = shot.answer.order.unwrap_or_default();
            let mut api = Api::new(door.clone());
            paying.spawn(async move {
                let path = format!("/orders/{order}");
                let body = json!({ "payment_method": "pm_card_visa" });
                let call = ("POST", format!("{path}/confirm"));
                let paid = api.call((call.0, &call.1), Some(&token), Some(&body)).await;
                let now: Option<Told> = api.get(&path, Some(&token)).await.ok();
                Confirmed {
                    order,
                    was: OrderStatus::Pending.name().to_owned(),
                    status: paid.map_or(0, |response| response.status),
                    now: now.map(|told| told.status).unwrap_or_default(),
                }
            });
        }
        paying.join_all().await
    }
}
