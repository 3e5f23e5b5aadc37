//! Collects the evidence after the load: over HTTP as buyers and admin, and from the database.

use std::{sync::Arc, time::Duration};

use anyhow::Context;
use axum::http::HeaderValue;
use flash_sale::{store::Store, verify};
use rand::{SeedableRng, rngs::StdRng, seq::SliceRandom};
use serde::Deserialize;
use serde_json::json;
use uuid::Uuid;

use super::{Confirmed, Evidence, ReadBack, Replay};
use crate::{
    client::request,
    driver::requests::Load,
    record::Sample,
    scenario::Scenario,
    service::Service,
    shop::{Api, READS_LAG},
};

/// Orders that are read over HTTP; the database rows cover all of them.
const READ_BACK_MAX: usize = 500;
const REPLAYS_MAX: usize = 50;
const CONFIRMED_MAX: usize = 20;

/// Everything that the checks read, except the evidence of the faults.
pub(crate) async fn collect(
    scenario: &Scenario,
    service: &Service,
    load: &Arc<Load>,
    seed: u64,
) -> anyhow::Result<Evidence> {
    let greedy = scenario.phase.iter().any(|phase| phase.greedy > 0);
    let users = 0..=scenario.users;
    let mut evidence = Evidence {
        offers: load.offers.clone(),
        quantity: scenario.quantity,
        users: users
            .map(|user| load.users.buyer(user).name.clone())
            .collect(),
        samples: load.recorder.take(),
        is_full_service: load.is_full_service,
        greedy: greedy.then_some(scenario.users),
        holds_expire: scenario.expect.expire,
        max_per_user: scenario.product.max_per_user,
        waiting: scenario.product.waiting,
        ..Evidence::default()
    };
    evidence.samples.sort_by_key(|sample| sample.answered);
    evidence.bad = load.take_bad_results();
    let address = service.nodes.first().context("no node")?.api.clone();
    let mut follow_up = FollowUp {
        load,
        api: Api::new(address),
    };
    // First, because held orders expire soon.
    follow_up
        .pay(scenario, service, &mut evidence, seed)
        .await?;
    if load.is_full_service {
        follow_up
            .read_and_repeat(scenario, &mut evidence, seed)
            .await?;
    }
    let store = service.store().await?;
    if scenario.expect.expire {
        let hold = Duration::from_secs(scenario.product.hold_seconds.unwrap_or(0).into());
        follow_up
            .until_holds_expired(&evidence, store.as_ref(), hold)
            .await?;
    }
    if store.is_none() {
        tokio::time::sleep(READS_LAG).await;
    }
    for offer in &load.offers {
        let admin = &load.users.admin.token;
        let row = follow_up.api.rows(offer, store.as_ref(), admin).await?;
        evidence.rows.push(row);
    }
    if let Some(store) = store {
        evidence.invariants = invariants(&store).await?;
        store.close().await;
    }
    Ok(evidence)
}

/// Breaches of each invariant of `flash-sale verify`.
async fn invariants(store: &Store) -> anyhow::Result<Vec<(&'static str, Vec<String>)>> {
    let mut found = Vec::new();
    for invariant in verify::INVARIANTS {
        let breaches = invariant.breaches(store).await?;
        let texts = breaches
            .iter()
            .map(|breach| format!("{}: {}", breach.subject, breach.detail));
        found.push((invariant.name, texts.collect()));
    }
    Ok(found)
}

/// Up to `most` winners, in random order.
fn random_winners(evidence: &Evidence, most: usize, seed: u64) -> Vec<Sample> {
    let mut winners: Vec<&Sample> = evidence
        .buys()
        .filter(|sample| sample.answer.order.is_some())
        .collect();
    winners.shuffle(&mut StdRng::seed_from_u64(seed));
    winners.into_iter().take(most).cloned().collect()
}

pub(super) struct FollowUp<'a> {
    pub(super) load: &'a Load,
    pub(super) api: Api,
}

#[derive(Deserialize)]
pub(super) struct OrderBody {
    id: Uuid,
    user_id: String,
    pub(super) status: String,
}

impl FollowUp<'_> {
    /// Pays the winners' orders, where the scenario says so.
    async fn pay(
        &mut self,
        scenario: &Scenario,
        service: &Service,
        evidence: &mut Evidence,
        seed: u64,
    ) -> anyhow::Result<()> {
        if !scenario.expect.pay_rush && !scenario.expect.take_over {
            return Ok(());
        }
        let winners = random_winners(evidence, usize::MAX, seed);
        if scenario.expect.pay_rush {
            evidence.confirmed = self.pay_rush(&winners, &service.addresses()).await;
        }
        if scenario.expect.take_over {
            evidence.take_over = Some(self.take_over(&winners, service).await?);
        }
        evidence.charges = service.charges();
        Ok(())
    }

    /// Reads orders by id, repeats purchases with their keys, and confirms orders.
    async fn read_and_repeat(
        &mut self,
        scenario: &Scenario,
        evidence: &mut Evidence,
        seed: u64,
    ) -> anyhow::Result<()> {
        let winners = random_winners(evidence, READ_BACK_MAX, seed);
        for sample in &winners {
            evidence.read_back.push(self.read_back(sample).await);
        }
        // A user over the rate limit is refused before the service reads the key.
        let one_user = scenario.phase.iter().any(|phase| phase.one_user);
        let is_unlimited =
            |sample: &&Sample| !one_user && Some(sample.planned.user) != evidence.greedy;
        let repeated: Vec<&Sample> = winners
            .iter()
            .filter(is_unlimited)
            .take(REPLAYS_MAX)
            .collect();
        for sample in repeated {
            evidence.replays.push(self.replay(sample).await);
        }
        if scenario.expect.confirm {
            for sample in winners.iter().take(CONFIRMED_MAX) {
                evidence.confirmed.push(self.confirm(sample).await?);
            }
        }
        Ok(())
    }

    async fn read_back(&mut self, sample: &Sample) -> ReadBack {
        let user = self.load.users.buyer(sample.planned.user);
        let order = sample.answer.order.unwrap_or_default();
        let path = format!("/orders/{order}");
        let response = self.api.call(("GET", &path), Some(&user.token), None).await;
        let received = response.as_ref().ok();
        let body =
            received.and_then(|response| serde_json::from_slice::<OrderBody>(&response.body).ok());
        ReadBack {
            order,
            user: sample.planned.user,
            status: received.map_or(0, |response| response.status),
            same: body.is_some_and(|body| body.id == order && body.user_id == user.name),
        }
    }

    async fn replay(&mut self, sample: &Sample) -> Replay {
        let planned = sample.planned;
        let key = self.load.key(planned.number);
        let user = self.load.users.buyer(planned.user);
        let offer = self.load.offers.get(planned.product);
        let mut request = request(
            ("POST", "/orders"),
            self.api.host(),
            Some(&user.token),
            offer.map(|offer| &offer.order),
        );
        if let Ok(key) = HeaderValue::from_str(&key) {
            request.headers_mut().insert("idempotency-key", key);
        }
        let response = self.api.send(request).await.ok();
        let received = response.as_ref();
        Replay {
            user: planned.user,
            key,
            first: sample.answer.order.unwrap_or_default(),
            status: received.map_or(0, |response| response.status),
            again: received
                .and_then(|response| serde_json::from_slice::<OrderBody>(&response.body).ok())
                .map(|body| body.id),
            flagged: received.and_then(|response| response.header("idempotency-replayed"))
                == Some("true"),
        }
    }

    async fn confirm(&mut self, sample: &Sample) -> anyhow::Result<Confirmed> {
        let user = &self.load.users.buyer(sample.planned.user).token;
        let order = sample.answer.order.unwrap_or_default();
        let path = format!("/orders/{order}");
        let was: OrderBody = self.api.get(&path, Some(user)).await?;
        let body = json!({ "payment_method": "pm_card_visa" });
        let call = ("POST", format!("{path}/confirm"));
        let response = self
            .api
            .call((call.0, &call.1), Some(user), Some(&body))
            .await?;
        let now: OrderBody = self.api.get(&path, Some(user)).await?;
        Ok(Confirmed {
            order,
            was: was.status,
            status: response.status,
            now: now.status,
        })
    }
}
