//! Held orders after the load: waits until they expire, or pays all of them at once.

use std::time::{Duration, Instant};

use flash_sale::{domain::OrderStatus, store::Store};
use serde_json::json;
use tokio::task::JoinSet;

use super::{
    Confirmed, Evidence,
    collect::{FollowUp, OrderBody},
};
use crate::{client::Address, record::Sample, shop::Api};

/// Added to the length of the holds, for a slow machine.
const GRACE: Duration = Duration::from_secs(15);
const POLL: Duration = Duration::from_millis(100);

impl FollowUp<'_> {
    /// Waits until no answered order is pending. After a deadline it returns anyway, and the checks
    /// find what is missing.
    pub(super) async fn until_holds_expired(
        &mut self,
        evidence: &Evidence,
        store: Option<&Store>,
        hold: Duration,
    ) -> anyhow::Result<()> {
        let deadline = Instant::now() + hold + GRACE;
        loop {
            let mut is_done = true;
            for offer in &self.load.offers {
                let admin = &self.load.users.admin.token;
                let row = self.api.rows(offer, store, admin).await?;
                let was_answered = |id| {
                    evidence
                        .buys()
                        .any(|sample| sample.answer.order == Some(id))
                };
                let pending = row
                    .orders
                    .iter()
                    .filter(|order| order.status == OrderStatus::Pending);
                is_done &= !pending.into_iter().any(|order| was_answered(order.id));
            }
            if is_done || Instant::now() > deadline {
                return Ok(());
            }
            tokio::time::sleep(POLL).await;
        }
    }

    /// Pays all winners' orders at the same time.
    pub(super) async fn pay_rush(&self, winners: &[Sample], nodes: &[Address]) -> Vec<Confirmed> {
        let mut paying = JoinSet::new();
        for (sample, node) in winners.iter().zip(nodes.iter().cycle()) {
            let token = self.load.users.buyer(sample.planned.user).token.clone();
            let order = sample.answer.order.unwrap_or_default();
            let mut api = Api::new(node.clone());
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
                    now: now.map(|order| order.status).unwrap_or_default(),
                }
            });
        }
        paying.join_all().await
    }
}
