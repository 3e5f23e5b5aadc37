//! What becomes of held orders after the load: they all end, or all are paid for at once.

use std::time::{Duration, Instant};

use flash_sale::{domain::OrderStatus, store::Store};
use serde_json::json;
use tokio::task::JoinSet;

use super::{
    Confirmed, Evidence,
    collect::{FollowUp, OrderBody},
};
use crate::{client::Address, record::Sample, shop::Api};

/// Beyond the holds themselves, on a slow machine.
const GRACE: Duration = Duration::from_secs(15);
const LOOK_EVERY: Duration = Duration::from_millis(100);

impl FollowUp<'_> {
    /// Waits until the answered orders have ended and waiting buyers have theirs; the checks find
    /// what has not happened by then.
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
                let row = self.api.rows(offer, store, admin).await?;
                let told = |id| {
                    evidence
                        .buys()
                        .any(|sample| sample.answer.order == Some(id))
                };
                let pending = row
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
    pub(super) async fn pay_rush(&self, winners: &[Sample], doors: &[Address]) -> Vec<Confirmed> {
        let mut paying = JoinSet::new();
        for (sample, door) in winners.iter().zip(doors.iter().cycle()) {
            let token = self.load.crowd.buyer(sample.planned.user).token.clone();
            let order = sample.answer.order.unwrap_or_default();
            let mut api = Api::new(door.clone());
            paying.spawn(async move {
                let path = format!("/orders/{order}");
                let body = json!({ "payment_method": "pm_card_visa" });
                let call = ("POST", format!("{path}/confirm"));
                let paid = api.call((call.0, &call.1), Some(&token), Some(&body)).await;
                let now: Option<OrderBody> = api.get(&path, Some(&token)).await.ok();
                Confirmed {
                    order,
                    was: OrderStatus::Pending.to_string(),
                    status: paid.map_or(0, |response| response.status),
                    now: now.map(|told| told.status).unwrap_or_default(),
                }
            });
        }
        paying.join_all().await
    }
}
