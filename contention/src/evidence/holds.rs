//! Held orders after the load: waits until they expire, pays all of them at once, or lets another
//! node take their payments over.

use std::time::{Duration, Instant};

use flash_sale::{domain::OrderStatus, store::Store};
use serde_json::json;
use tokio::task::JoinSet;

use super::{
    Confirmed, Evidence, TakeOver,
    collect::{FollowUp, OrderBody},
};
use crate::{client::Address, record::Sample, service::Service, shop::Api};

/// Added to the length of the holds, for a slow machine.
const GRACE: Duration = Duration::from_secs(15);
const POLL: Duration = Duration::from_millis(100);
/// Shorter than the gateway takes.
const CHARGE_POLL: Duration = Duration::from_millis(5);
/// Above the time after which a payment counts as forgotten, which is longer than any request.
const TAKE_OVER: Duration = Duration::from_secs(20);

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
        self.pay_all(winners, nodes).join_all().await
    }

    /// Pays all winners' orders at the first node, and pauses it once all are charged, so that it
    /// reads the gateway's answers only after another node has ended the payments.
    pub(super) async fn take_over(
        &mut self,
        winners: &[Sample],
        service: &Service,
    ) -> anyhow::Result<TakeOver> {
        let [first, second, ..] = &*service.nodes else {
            anyhow::bail!("a payment is taken over by a second node");
        };
        let paying = self.pay_all(winners, std::slice::from_ref(&first.api));
        let charged = || {
            service
                .charges()
                .is_some_and(|paid| paid.len() == winners.len())
        };
        let deadline = Instant::now() + GRACE;
        while !charged() && Instant::now() < deadline {
            tokio::time::sleep(CHARGE_POLL).await;
        }
        first.pause()?;
        // Errors are returned only after the node has resumed.
        let ended = self.until_payments_end(second.api.clone()).await;
        first.resume()?;
        Ok(TakeOver {
            confirmed: paying.join_all().await,
            paid_by_others: ended?,
        })
    }

    /// The number of confirmed orders once no payment is open, or after a deadline.
    async fn until_payments_end(&self, node: Address) -> anyhow::Result<usize> {
        let mut api = Api::new(node);
        let admin = &self.load.users.admin.token;
        let deadline = Instant::now() + TAKE_OVER;
        loop {
            let mut orders = Vec::new();
            for offer in &self.load.offers {
                orders.extend(api.rows(offer, None, admin).await?.orders);
            }
            let count = |status| orders.iter().filter(|order| order.status == status).count();
            if count(OrderStatus::Confirming) == 0 || Instant::now() > deadline {
                return Ok(count(OrderStatus::Confirmed));
            }
            tokio::time::sleep(POLL).await;
        }
    }

    fn pay_all(&self, winners: &[Sample], nodes: &[Address]) -> JoinSet<Confirmed> {
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
        paying
    }
}
