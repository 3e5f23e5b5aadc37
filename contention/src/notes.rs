//! Additional figures of some scenarios.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use crate::{
    evidence::Evidence,
    figures::{Figures, real},
    record::{RequestKind, Sample},
    scenario::{Arrival, Scenario},
    summary::Summary,
    timeline::millis,
    usage::Usage,
};

pub(crate) fn figures(
    scenario: &Scenario,
    evidence: &Evidence,
    summary: &Summary,
    grown: Option<(&Figures, &Figures)>,
    used: &Usage,
) -> BTreeMap<String, String> {
    let mut notes = BTreeMap::new();
    let mut note = |name: &str, value: String| drop(notes.insert(name.to_owned(), value));
    note("client memory", format!("{} MiB", used.memory_mb()));
    if scenario.has_arrival(Arrival::BackToBack) {
        let (name, count) = if evidence.buys().next().is_some() {
            let won = evidence.buys().filter(|sample| sample.answer.won());
            ("orders/s", u64::try_from(won.count()).unwrap_or_default())
        } else {
            ("requests/s", summary.offered)
        };
        note(
            name,
            format!("{:.0}", real(count) / summary.seconds.max(0.001)),
        );
    }
    let reads = |sample: &Sample| {
        matches!(
            sample.planned.kind,
            RequestKind::Browse | RequestKind::Look | RequestKind::Detail
        )
    };
    if scenario.has_arrival(Arrival::BackToBack) && evidence.samples.iter().any(reads) {
        note("cache hit rate", cache_hit_rate(grown));
    }
    let lasts = scenario.has_arrival(Arrival::Rate) || scenario.has_arrival(Arrival::BackToBack);
    if lasts && evidence.buys().next().is_some() {
        let pause = longest_pause(evidence.buys());
        note("longest time without an order", in_millis(pause));
        for (node, orders) in orders_by_node(evidence) {
            note(&node, orders);
        }
    }
    notes
}

/// Between two answers 201, or from the last one to the end of the load; of samples in the order of
/// their answers.
fn longest_pause<'a>(samples: impl Iterator<Item = &'a Sample>) -> Duration {
    let (mut last, mut end) = (None, Duration::ZERO);
    let mut longest = Duration::ZERO;
    for sample in samples {
        end = end.max(sample.intended);
        if sample.answer.won() {
            let before = last.replace(sample.answered).unwrap_or(sample.answered);
            longest = longest.max(sample.answered.saturating_sub(before));
        }
    }
    longest.max(end.saturating_sub(last.unwrap_or(end)))
}

fn in_millis(time: Duration) -> String {
    format!("{:.0} ms", millis(time))
}

/// Of each node, where there are several: its longest pause, and how often each code was answered.
fn orders_by_node(evidence: &Evidence) -> Vec<(String, String)> {
    let nodes: BTreeSet<usize> = evidence.buys().map(|sample| sample.node).collect();
    if nodes.len() < 2 {
        return Vec::new();
    }
    let orders = nodes.into_iter().map(|node| {
        let samples = || evidence.buys().filter(|sample| sample.node == node);
        let mut counts: BTreeMap<&str, u64> = BTreeMap::new();
        for sample in samples() {
            *counts.entry(sample.answer.code.name()).or_default() += 1;
        }
        let counts = counts.iter().map(|(code, count)| format!("{code} {count}"));
        let parts: Vec<String> = [in_millis(longest_pause(samples()))]
            .into_iter()
            .chain(counts)
            .collect();
        let name = format!("node {}: longest time without an order, answers", node + 1);
        (name, parts.join(", "))
    });
    orders.collect()
}

fn cache_hit_rate(grown: Option<(&Figures, &Figures)>) -> String {
    const NAME: &str = "flash_sale_cache_requests_total";
    let Some((before, after)) = grown.filter(|(_, after)| after.has(NAME)) else {
        return "unknown".to_owned();
    };
    let count = |labels: &[(&str, &str)]| after.sum(NAME, labels) - before.sum(NAME, labels);
    let (hits, all) = (count(&[("result", "hit")]), count(&[]));
    format!("{:.1} %", 100.0 * hits / all.max(1.0))
}

/// Orders per second that were answered 201, for comparing runs.
pub(crate) fn orders_per_second(run: &crate::report::Run) -> f64 {
    let created = run.answers.iter().filter(|answer| answer.code == "created");
    real(created.map(|answer| answer.count).sum()) / run.seconds.max(0.001)
}

/// Reads per second of a run with only reads, for comparing runs.
pub(crate) fn reads_per_second(run: &crate::report::Run) -> f64 {
    let is_read = |answer: &&crate::report::Answers| answer.code == "ok";
    if run.answers.iter().any(|answer| !is_read(&answer)) {
        return 0.0;
    }
    real(run.answers.iter().map(|answer| answer.count).sum()) / run.seconds.max(0.001)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        record::{Answer, Planned},
        report::codes::AnswerCode,
    };

    fn sample(node: usize, answered_ms: u64, code: AnswerCode) -> Sample {
        let answered = Duration::from_millis(answered_ms);
        Sample {
            planned: Planned {
                user: 0,
                product: 0,
                kind: RequestKind::Buy,
                number: 0,
            },
            attempt: 0,
            node,
            intended: answered.saturating_sub(Duration::from_millis(10)),
            sent: answered,
            answered,
            answer: Answer {
                status: if code == AnswerCode::Created {
                    201
                } else {
                    400
                },
                code,
                ..Answer::default()
            },
        }
    }

    #[test]
    fn the_pauses_of_all_and_of_each_node_are_told() {
        let (created, busy) = (
            AnswerCode::Created,
            AnswerCode::Refused(flash_sale::domain::Code::HighDemand),
        );
        let samples = vec![
            sample(0, 100, created),
            sample(1, 130, created),
            sample(0, 150, busy),
            sample(0, 160, created),
            sample(0, 220, created),
            sample(1, 250, busy),
        ];
        let evidence = Evidence {
            samples,
            ..Evidence::default()
        };

        assert_eq!(longest_pause(evidence.buys()), Duration::from_millis(60));
        let nodes = orders_by_node(&evidence);
        let told: Vec<&str> = nodes.iter().map(|(_, told)| told.as_str()).collect();
        assert_eq!(
            told,
            [
                "60 ms, created 3, high_demand 1",
                "110 ms, created 1, high_demand 1"
            ]
        );
    }
}
