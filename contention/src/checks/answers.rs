//! The checks of answers: every request gets one, with an expected code, in time.

use std::{collections::BTreeMap, time::Duration};

use super::{Evidence, check_result};
use crate::{
    record::{RequestKind, Sample},
    report::Check,
    scenario::Expect,
};

/// A broken connection is no answer, and neither is silence.
pub(super) fn answered(evidence: &Evidence, _expect: &Expect) -> Check {
    let breaches = evidence
        .samples
        .iter()
        .filter(|sample| sample.answer.status == 0)
        .map(|sample| format!("{} got no answer", subject(evidence, sample)))
        .collect();
    let detail = format!("{} requests", evidence.samples.len());
    check_result("every request is answered", detail, breaches)
}

/// Buyers end with an order or a refusal that the scenario foresees, all other requests with a 2xx.
pub(super) fn codes(evidence: &Evidence, expect: &Expect) -> Check {
    let last = evidence.last_answers();
    let mut seen: BTreeMap<&str, u64> = BTreeMap::new();
    let mut breaches = Vec::new();
    for sample in &evidence.samples {
        let code = sample.answer.code;
        let is_last = last
            .get(&sample.planned.number)
            .is_some_and(|last| last.attempt == sample.attempt);
        let is_right = match sample.planned.kind {
            RequestKind::Buy if !is_last => sample.answer.invites_retry(),
            RequestKind::Buy => {
                matches!(code, "created" | "replayed" | "waitlisted" | "high_demand")
                    || expect.refusals.iter().any(|refusal| refusal == code)
                    || (expect.allow_unavailable && is_unavailable(code))
                    || !evidence.is_full_service
            }
            RequestKind::Bad => true,
            RequestKind::Look
            | RequestKind::Browse
            | RequestKind::Detail
            | RequestKind::Create
            | RequestKind::Live => {
                code == "ok" || (expect.allow_unavailable && is_unavailable(code))
            }
        };
        if sample.planned.kind == RequestKind::Buy && is_last {
            *seen.entry(code).or_default() += 1;
        }
        if !is_right {
            breaches.push(format!("{} was answered {code}", subject(evidence, sample)));
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
    check_result(
        "every answer is one that was to be expected",
        detail,
        breaches,
    )
}

pub(super) fn server_errors(evidence: &Evidence, expect: &Expect) -> Check {
    let errors = evidence
        .samples
        .iter()
        .filter(|sample| sample.answer.status >= 500);
    let mut allowed = 0_u64;
    let mut breaches = Vec::new();
    for sample in errors {
        let answer = &sample.answer;
        if expect.allow_unavailable && answer.status == 503 && is_unavailable(answer.code) {
            allowed += 1;
        } else {
            let subject = subject(evidence, sample);
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
    check_result("no 5xx that the fault does not explain", detail, breaches)
}

pub(super) fn in_time(evidence: &Evidence, expect: &Expect) -> Check {
    let limit = Duration::from_millis(expect.time_limit_ms.into());
    let slowest = evidence
        .samples
        .iter()
        .map(Sample::service_time)
        .max()
        .unwrap_or_default();
    let breaches = evidence
        .samples
        .iter()
        .filter(|sample| sample.service_time() > limit)
        .map(|sample| {
            format!(
                "{} took {:?}",
                subject(evidence, sample),
                sample.service_time()
            )
        })
        .collect();
    let detail = format!("the slowest took {slowest:.0?} of {limit:?}");
    check_result("no request is over the time limit", detail, breaches)
}

/// A refusal is faster than an order.
pub(super) fn refusals_faster(evidence: &Evidence) -> Check {
    let middle = |wanted: &dyn Fn(&Sample) -> bool| {
        let mut times: Vec<Duration> = evidence
            .buys()
            .filter(|sample| wanted(sample))
            .map(Sample::latency)
            .collect();
        times.sort_unstable();
        times.get(times.len() / 2).copied()
    };
    let winners = middle(&|sample| !evidence.counts(sample) && sample.answer.won());
    let refusals = middle(&|sample| evidence.counts(sample) && !sample.answer.won());
    let promise = "a refusal comes sooner than an order";
    match (refusals, winners) {
        (Some(refusal), Some(win)) => {
            let detail =
                format!("p50 of a refusal {refusal:.1?}, of an order {win:.1?} in an equal crowd");
            let breaches = (refusal > win).then(|| detail.clone());
            check_result(promise, detail, breaches.into_iter().collect())
        }
        (_, _) => check_result(
            promise,
            String::new(),
            vec!["there was nothing to compare".to_owned()],
        ),
    }
}

fn is_unavailable(code: &str) -> bool {
    matches!(code, "unavailable" | "outcome_unknown")
}

fn subject(evidence: &Evidence, sample: &Sample) -> String {
    let planned = sample.planned;
    let user = evidence.user(planned.user);
    let what = match planned.kind {
        RequestKind::Buy => "order",
        RequestKind::Look => "look",
        RequestKind::Browse => "list",
        RequestKind::Detail => "page",
        RequestKind::Create => "new product",
        RequestKind::Live => "sign of life",
        RequestKind::Bad => "bad request",
    };
    format!("{what} {} of user {user}", planned.number)
}
