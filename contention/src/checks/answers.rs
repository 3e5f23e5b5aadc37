//! Every request gets an answer, the right kind of answer, and in time.

use std::{collections::BTreeMap, time::Duration};

use super::{Evidence, verdict};
use crate::{
    record::{Kind, Shot},
    report::Check,
    scenario::Expect,
};

/// A broken connection is no answer, and neither is silence.
pub(super) fn answered(evidence: &Evidence, _expect: &Expect) -> Check {
    let breaches = evidence
        .shots
        .iter()
        .filter(|shot| shot.answer.status == 0)
        .map(|shot| format!("{} got no answer", subject(evidence, shot)))
        .collect();
    let detail = format!("{} requests", evidence.shots.len());
    verdict("every request is answered", detail, breaches)
}

/// Buyers end with an order or a refusal that the scenario foresees, everybody else with a 2xx.
pub(super) fn codes(evidence: &Evidence, expect: &Expect) -> Check {
    let last = evidence.last_words();
    let mut seen: BTreeMap<&str, u64> = BTreeMap::new();
    let mut breaches = Vec::new();
    for shot in &evidence.shots {
        let code = shot.answer.code;
        let is_last = last
            .get(&shot.planned.number)
            .is_some_and(|last| last.attempt == shot.attempt);
        let is_right = match shot.planned.kind {
            Kind::Buy if !is_last => shot.answer.invites_retry(),
            Kind::Buy => {
                matches!(code, "created" | "replayed" | "waitlisted" | "high_demand")
                    || expect.refusals.iter().any(|refusal| refusal == code)
                    || (expect.allow_unavailable && is_unavailable(code))
                    || !evidence.is_full_service
            }
            Kind::Bad => true,
            Kind::Look | Kind::Browse | Kind::Detail | Kind::Create | Kind::Live => {
                code == "ok" || (expect.allow_unavailable && is_unavailable(code))
            }
        };
        if shot.planned.kind == Kind::Buy && is_last {
            *seen.entry(code).or_default() += 1;
        }
        if !is_right {
            breaches.push(format!("{} was answered {code}", subject(evidence, shot)));
        }
    }
    let seen: Vec<String> = seen
        .iter()
        .map(|(code, count)| format!("{count} {code}"))
        .collect();
    let detail = if seen.is_empty() {
        "nobody bought".to_owned()
    } else {
        format!("buyers in the end: {}", seen.join(", "))
    };
    verdict(
        "every answer is one that was to be expected",
        detail,
        breaches,
    )
}

pub(super) fn server_errors(evidence: &Evidence, expect: &Expect) -> Check {
    let errors = evidence
        .shots
        .iter()
        .filter(|shot| shot.answer.status >= 500);
    let mut allowed = 0_u64;
    let mut breaches = Vec::new();
    for shot in errors {
        let answer = &shot.answer;
        if expect.allow_unavailable && answer.status == 503 && is_unavailable(answer.code) {
            allowed += 1;
        } else {
            let subject = subject(evidence, shot);
            breaches.push(format!(
                "{subject} was answered {} {}",
                answer.status, answer.code
            ));
        }
    }
    let detail = if expect.allow_unavailable {
        format!("{allowed} times 503 that the fault explains")
    } else {
        "none".to_owned()
    };
    verdict("no 5xx that the fault does not explain", detail, breaches)
}

pub(super) fn in_time(evidence: &Evidence, expect: &Expect) -> Check {
    let limit = Duration::from_millis(expect.time_limit_ms.into());
    let slowest = evidence
        .shots
        .iter()
        .map(Shot::service_time)
        .max()
        .unwrap_or_default();
    let breaches = evidence
        .shots
        .iter()
        .filter(|shot| shot.service_time() > limit)
        .map(|shot| format!("{} took {:?}", subject(evidence, shot), shot.service_time()))
        .collect();
    let detail = format!("the slowest took {slowest:.0?} of {limit:?}");
    verdict("no request is over the time limit", detail, breaches)
}

/// Somebody who cannot buy is told so sooner than somebody who can.
pub(super) fn refusals_faster(evidence: &Evidence) -> Check {
    let middle = |wanted: &dyn Fn(&Shot) -> bool| {
        let mut times: Vec<Duration> = evidence
            .buys()
            .filter(|shot| wanted(shot))
            .map(Shot::latency)
            .collect();
        times.sort_unstable();
        times.get(times.len() / 2).copied()
    };
    let winners = middle(&|shot| !evidence.counts(shot) && shot.answer.won());
    let refusals = middle(&|shot| evidence.counts(shot) && !shot.answer.won());
    let promise = "a refusal comes sooner than an order";
    match (refusals, winners) {
        (Some(refusal), Some(win)) => {
            let detail =
                format!("p50 of a refusal {refusal:.1?}, of an order {win:.1?} in an equal crowd");
            let breaches = (refusal > win).then(|| detail.clone());
            verdict(promise, detail, breaches.into_iter().collect())
        }
        (_, _) => verdict(
            promise,
            String::new(),
            vec!["there was nothing to compare".to_owned()],
        ),
    }
}

fn is_unavailable(code: &str) -> bool {
    matches!(code, "unavailable" | "outcome_unknown")
}

fn subject(evidence: &Evidence, shot: &Shot) -> String {
    let planned = shot.planned;
    let user = evidence.user(planned.user);
    let what = match planned.kind {
        Kind::Buy => "order",
        Kind::Look => "look",
        Kind::Browse => "list",
        Kind::Detail => "page",
        Kind::Create => "new product",
        Kind::Live => "sign of life",
        Kind::Bad => "bad request",
    };
    format!("{what} {} of user {user}", planned.number)
}
