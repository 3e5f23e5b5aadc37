//! Checks of answers: every request is answered, with an expected code, in time.

use std::{collections::BTreeMap, time::Duration};

use flash_sale::domain::Code;

use super::{Evidence, check_result};
use crate::{
    record::{RequestKind, Sample},
    report::{Check, codes::AnswerCode},
    scenario::Expect,
};

/// A broken connection and a time-out count as no answer.
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

/// Buyers get an order or a refusal that the scenario expects, all other requests a 2xx.
pub(super) fn codes(evidence: &Evidence, expect: &Expect) -> Check {
    let last = evidence.last_answers();
    let mut counts: BTreeMap<&str, u64> = BTreeMap::new();
    let mut breaches = Vec::new();
    for sample in &evidence.samples {
        let code = sample.answer.code;
        let is_last = last
            .get(&sample.planned.number)
            .is_some_and(|last| last.attempt == sample.attempt);
        let is_expected = match sample.planned.kind {
            RequestKind::Buy if !is_last => sample.answer.invites_retry(),
            RequestKind::Buy => ends_a_purchase(code, expect) || !evidence.is_full_service,
            RequestKind::Bad => true,
            RequestKind::Look
            | RequestKind::Browse
            | RequestKind::Detail
            | RequestKind::Create
            | RequestKind::Live => {
                code == AnswerCode::Ok || (expect.allow_unavailable && is_unavailable(code))
            }
        };
        if sample.planned.kind == RequestKind::Buy && is_last {
            *counts.entry(code.name()).or_default() += 1;
        }
        if !is_expected {
            let subject = subject(evidence, sample);
            breaches.push(format!("{subject} was answered {}", code.name()));
        }
    }
    let counts: Vec<String> = counts
        .iter()
        .map(|(code, count)| format!("{count} {code}"))
        .collect();
    let detail = if counts.is_empty() {
        "no purchases".to_owned()
    } else {
        format!("last answers to buyers: {}", counts.join(", "))
    };
    check_result("every answer has an expected code", detail, breaches)
}

fn ends_a_purchase(code: AnswerCode, expect: &Expect) -> bool {
    match code {
        AnswerCode::Created | AnswerCode::Replayed | AnswerCode::Waitlisted => true,
        AnswerCode::Ok | AnswerCode::NoAnswer | AnswerCode::UnknownCode => false,
        AnswerCode::Refused(refusal) => {
            refusal == Code::HighDemand
                || expect.refusals.contains(&refusal)
                || (expect.allow_unavailable && is_unavailable(code))
        }
    }
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
                answer.status,
                answer.code.name()
            ));
        }
    }
    let detail = if expect.allow_unavailable {
        format!("{allowed} × 503 that the fault explains")
    } else {
        "none".to_owned()
    };
    check_result(
        "no 5xx except those that the fault explains",
        detail,
        breaches,
    )
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

/// The median refusal is faster than the median order of the yardstick phase.
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
    let promise = "refusals are faster than orders";
    match (refusals, winners) {
        (Some(refusal), Some(win)) => {
            let detail =
                format!("p50 of refusals {refusal:.1?}, of orders {win:.1?} under the same load");
            let breaches = (refusal > win).then(|| detail.clone());
            check_result(promise, detail, breaches.into_iter().collect())
        }
        (_, _) => check_result(
            promise,
            String::new(),
            vec!["no refusal or no order to compare".to_owned()],
        ),
    }
}

fn is_unavailable(code: AnswerCode) -> bool {
    matches!(
        code,
        AnswerCode::Refused(Code::Unavailable | Code::OutcomeUnknown)
    )
}

fn subject(evidence: &Evidence, sample: &Sample) -> String {
    let planned = sample.planned;
    let user = evidence.user(planned.user);
    let what = match planned.kind {
        RequestKind::Buy => "order",
        RequestKind::Look => "availability read",
        RequestKind::Browse => "product list",
        RequestKind::Detail => "product page",
        RequestKind::Create => "new product",
        RequestKind::Live => "liveness check",
        RequestKind::Bad => "bad request",
    };
    format!("{what} {} of user {user}", planned.number)
}
