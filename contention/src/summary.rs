//! From what was seen to the figures of the report.

use std::{
    collections::{BTreeMap, HashMap},
    time::Duration,
};

use hdrhistogram::Histogram;

use crate::{
    checks::Evidence,
    figures::real,
    record::Shot,
    report::{Answers, Latencies, Latency, Slice, Units},
    scenario::{Expect, Sold},
    timeline::{Timeline, millis},
};

/// Steps that a run is shown in, about.
const STEPS: u32 = 100;
const STEP_LEAST: Duration = Duration::from_millis(10);
/// Points of the curve; dense where it gets interesting.
const PERCENTILES: [f64; 22] = [
    0.0, 5.0, 10.0, 20.0, 30.0, 40.0, 50.0, 60.0, 70.0, 75.0, 80.0, 85.0, 90.0, 95.0, 97.5, 99.0,
    99.5, 99.75, 99.9, 99.95, 99.99, 100.0,
];

/// The figures that come from the shots alone.
#[derive(Debug)]
pub(crate) struct Summary {
    pub(crate) offered: u64,
    pub(crate) seconds: f64,
    pub(crate) answers: Vec<Answers>,
    pub(crate) latency: Latencies,
    pub(crate) late_p99_ms: f64,
    pub(crate) sold_out_after_ms: Option<f64>,
    pub(crate) timeline: Vec<Slice>,
    /// When the first counted request was to start; the timeline begins here.
    pub(crate) first: Duration,
}

pub(crate) fn summarise(evidence: &Evidence, stock: &[(Duration, Option<i64>)]) -> Summary {
    let shots: Vec<&Shot> = evidence
        .shots
        .iter()
        .filter(|shot| evidence.counts(shot))
        .collect();
    let first = shots
        .iter()
        .map(|shot| shot.intended)
        .min()
        .unwrap_or_default();
    let last = shots
        .iter()
        .map(|shot| shot.answered)
        .max()
        .unwrap_or_default();
    let length = last.saturating_sub(first);
    let mut timeline = Timeline::new(step(length));
    for shot in &shots {
        timeline.add(&shifted(shot, first));
    }
    for (at, stock) in stock.iter().filter(|(at, _)| (first..=last).contains(at)) {
        timeline.add_stock(at.saturating_sub(first), *stock);
    }
    let late = |shot: &&Shot| shot.sent.saturating_sub(shot.intended);
    Summary {
        offered: u64::try_from(shots.len()).unwrap_or(u64::MAX),
        seconds: length.as_secs_f64(),
        answers: answers(&shots),
        latency: Latencies {
            winners: latency(
                shots
                    .iter()
                    .filter(|shot| shot.is_buy() && won(shot))
                    .map(|shot| shot.latency()),
            ),
            refusals: latency(
                shots
                    .iter()
                    .filter(|shot| shot.is_buy() && !won(shot))
                    .map(|shot| shot.latency()),
            ),
            others: latency(
                shots
                    .iter()
                    .filter(|shot| !shot.is_buy())
                    .map(|shot| shot.latency()),
            ),
        },
        late_p99_ms: latency(shots.iter().map(late)).p99_ms,
        sold_out_after_ms: sold_out(evidence, first),
        timeline: timeline.until(length),
        first,
    }
}

/// Where the load ends before stock and wish do, what was sold is what was possible.
pub(crate) fn units(evidence: &Evidence, expect: &Expect) -> Units {
    let (mut sold, mut possible, mut unsold, mut oversold) = (0, 0, 0, 0);
    let products = evidence
        .offers
        .iter()
        .zip(evidence.sold())
        .zip(evidence.possible());
    for ((offer, units), could) in products.filter(|((offer, _), _)| !offer.is_yardstick) {
        let could = match expect.sold {
            Sold::Possible => could,
            Sold::Any => units,
        };
        sold += units;
        possible += could;
        unsold += could.saturating_sub(units);
        oversold += units.saturating_sub(u64::from(offer.stock));
    }
    Units {
        sold,
        possible,
        unsold,
        oversold,
    }
}

fn won(shot: &Shot) -> bool {
    matches!(shot.answer.status, 201 | 202)
}

fn shifted(shot: &Shot, first: Duration) -> Shot {
    let mut shot = shot.clone();
    shot.intended = shot.intended.saturating_sub(first);
    shot.answered = shot.answered.saturating_sub(first);
    shot
}

/// A round length, so that there are about as many steps as wanted.
fn step(length: Duration) -> Duration {
    let rough = (length / STEPS).max(STEP_LEAST);
    let round = [10, 20, 50, 100, 200, 500, 1_000, 2_000, 5_000, 10_000].map(Duration::from_millis);
    round
        .into_iter()
        .find(|step| *step >= rough)
        .unwrap_or(rough)
}

fn answers(shots: &[&Shot]) -> Vec<Answers> {
    let mut counts: BTreeMap<(u16, &str), u64> = BTreeMap::new();
    for shot in shots {
        *counts
            .entry((shot.answer.status, shot.answer.code))
            .or_default() += 1;
    }
    let answers = counts.into_iter().map(|((status, code), count)| Answers {
        code: code.to_owned(),
        status,
        count,
    });
    answers.collect()
}

fn latency(times: impl Iterator<Item = Duration>) -> Latency {
    // Three digits, in microseconds; it grows as needed.
    let Ok(mut histogram) = Histogram::<u64>::new(3) else {
        return Latency::default();
    };
    let mut count = 0;
    for time in times {
        let micros = u64::try_from(time.as_micros()).unwrap_or(u64::MAX);
        if histogram.record(micros.max(1)).is_ok() {
            count += 1;
        }
    }
    if count == 0 {
        return Latency::default();
    }
    let at = |percentile| real(histogram.value_at_percentile(percentile)) / 1_000.0;
    Latency {
        count,
        p50_ms: at(50.0),
        p95_ms: at(95.0),
        p99_ms: at(99.0),
        max_ms: real(histogram.max()) / 1_000.0,
        curve: PERCENTILES
            .map(|percentile| (percentile, at(percentile)))
            .into(),
    }
}

/// When the order that took the last unit was answered; none while something is left.
fn sold_out(evidence: &Evidence, first: Duration) -> Option<f64> {
    let products: Vec<_> = evidence.offers.iter().zip(&evidence.books).collect();
    let counted: Vec<_> = products
        .iter()
        .filter(|(offer, _)| !offer.is_yardstick)
        .collect();
    if counted
        .iter()
        .any(|(offer, book)| book.stock != 0 || offer.stock == 0)
    {
        return None;
    }
    let mut last: HashMap<usize, Duration> = HashMap::new();
    for shot in evidence
        .buys()
        .filter(|shot| shot.answer.won() && evidence.counts(shot))
    {
        let known = last.entry(shot.planned.product).or_default();
        *known = (*known).max(shot.answered);
    }
    let latest = last.into_values().max()?;
    Some(millis(latest.saturating_sub(first)))
}
