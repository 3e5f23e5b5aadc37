//! Collects the evidence after the load: over HTTP as buyers and the admin would, and from the database.

use std::{sync::Arc, time::Duration};

use anyhow::Context;
use axum::http::HeaderValue;
use flash_sale::{store::Store, verify};
use rand::{RngExt, SeedableRng, rngs::StdRng};
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

/// Orders read back one by one; the rows of the database cover every one of them anyway.
const READ_BACK_MAX: usize = 500;
const REPLAYS_MAX: usize = 50;
const CONFIRMED_MAX: usize = 20;

/// Everything that the checks look at, but for what the faults left.
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
            .map(|user| load.crowd.buyer(user).name.clone())
            .collect(),
        samples: load.recorder.take(),
        is_full_service: load.is_full_service,
        greedy: greedy.then_some(scenario.users),
        holds_end: scenario.expect.expire,
        max_per_user: scenario.product.max_per_user,
        ..Evidence::default()
    };
    evidence.samples.sort_by_key(|sample| sample.answered);
    evidence.bad = load.take_bad_results();
    let door = service.nodes.first().context("no node")?.api.clone();
    let mut follow_up = FollowUp {
        load,
        api: Api::new(door),
    };
    if scenario.expect.pay_rush {
        // First: their holds end soon.
        let winners = random_winners(&evidence, usize::MAX, seed);
        evidence.confirmed = follow_up.pay_rush(&winners, &service.doors()).await;
        evidence.charges = service.charges();
    }
    if load.is_full_service {
        follow_up.again(scenario, &mut evidence, seed).await?;
    }
    let store = service.store().await?;
    if scenario.expect.expire {
        let hold = Duration::from_secs(scenario.product.hold_seconds.unwrap_or(0).into());
        follow_up
            .until_over(&evidence, store.as_ref(), hold)
            .await?;
    }
    if store.is_none() {
        tokio::time::sleep(READS_LAG).await;
    }
    for offer in &load.offers {
        let admin = &load.crowd.admin.token;
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
        let told = breaches
            .iter()
            .map(|breach| format!("{}: {}", breach.subject, breach.detail));
        found.push((invariant.name, told.collect()));
    }
    Ok(found)
}

/// Some of the winners, by chance.
fn random_winners(evidence: &Evidence, most: usize, seed: u64) -> Vec<Sample> {
    let mut winners: Vec<&Sample> = evidence
        .buys()
        .filter(|sample| sample.answer.order.is_some())
        .collect();
    let mut random = StdRng::seed_from_u64(seed);
    let mut chosen = Vec::new();
    while chosen.len() < most && !winners.is_empty() {
        let winner = winners.swap_remove(random.random_range(0..winners.len()));
        chosen.push(winner.clone());
    }
    chosen
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
    /// Asks for orders by id and by key, and pays where that is wanted.
    async fn again(
        &mut self,
        scenario: &Scenario,
        evidence: &mut Evidence,
        seed: u64,
    ) -> anyhow::Result<()> {
        let winners = random_winners(evidence, READ_BACK_MAX, seed);
        for sample in &winners {
            evidence.read_back.push(self.read_back(sample).await);
        }
        // Who is over the limit is refused before the key is looked at.
        let one_user = scenario.phase.iter().any(|phase| phase.one_user);
        let patient = |sample: &&Sample| !one_user && Some(sample.planned.user) != evidence.greedy;
        let again: Vec<&Sample> = winners.iter().filter(patient).take(REPLAYS_MAX).collect();
        for sample in again {
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
        let user = self.load.crowd.buyer(sample.planned.user);
        let order = sample.answer.order.unwrap_or_default();
        let path = format!("/orders/{order}");
        let response = self.api.call(("GET", &path), Some(&user.token), None).await;
        let told = response.as_ref().ok();
        let same =
            told.and_then(|response| serde_json::from_slice::<OrderBody>(&response.body).ok());
        ReadBack {
            order,
            user: sample.planned.user,
            status: told.map_or(0, |response| response.status),
            same: same.is_some_and(|told| told.id == order && told.user_id == user.name),
        }
    }

    async fn replay(&mut self, sample: &Sample) -> Replay {
        let planned = sample.planned;
        let key = self.load.key(planned.number);
        let user = self.load.crowd.buyer(planned.user);
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
        let told = response.as_ref();
        Replay {
            user: planned.user,
            key,
            first: sample.answer.order.unwrap_or_default(),
            status: told.map_or(0, |response| response.status),
            again: told
                .and_then(|response| serde_json::from_slice::<OrderBody>(&response.body).ok())
                .map(|told| told.id),
            flagged: told.and_then(|response| response.header("idempotency-replayed"))
                == Some("true"),
        }
    }

    async fn confirm(&mut self, sample: &Sample) -> anyhow::Result<Confirmed> {
        let user = &self.load.crowd.buyer(sample.planned.user).token;
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
