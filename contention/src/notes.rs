//! Additional figures of some scenarios.

use std::collections::BTreeMap;

use crate::{
    evidence::Evidence,
    figures::{Figures, real},
    record::RequestKind,
    scenario::{Arrival, Scenario},
    summary::Summary,
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
    let reads = |sample: &crate::record::Sample| {
        matches!(
            sample.planned.kind,
            RequestKind::Browse | RequestKind::Look | RequestKind::Detail
        )
    };
    if scenario.has_arrival(Arrival::BackToBack) && evidence.samples.iter().any(reads) {
        note("cache hit rate", cache_hit_rate(grown));
    }
    notes
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
