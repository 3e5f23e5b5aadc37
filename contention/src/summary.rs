//! Figures of the report, from the evidence: latencies, counts, units, timeline.

use std::{
    collections::{BTreeMap, HashMap},
    time::Duration,
};

use hdrhistogram::Histogram;

use crate::{
    evidence::Evidence,
    figures::real,
    record::Sample,
    report::{Answers, Latencies, Latency, Slice, Units},
    scenario::{Expect, Sold},
    timeline::{Timeline, millis},
};

/// Approximate number of steps in a timeline.
const STEPS: u32 = 100;
const STEP_LEAST: Duration = Duration::from_millis(10);
/// Points of the latency curve, denser at the high percentiles.
const PERCENTILES: [f64; 22] = [
    0.0, 5.0, 10.0, 20.0, 30.0, 40.0, 50.0, 60.0, 70.0, 75.0, 80.0, 85.0, 90.0, 95.0, 97.5, 99.0,
    99.5, 99.75, 99.9, 99.95, 99.99, 100.0,
];

/// The figures from the samples.
#[derive(Debug)]
pub(crate) struct Summary {
    pub(crate) offered: u64,
    pub(crate) seconds: f64,
    pub(crate) answers: Vec<Answers>,
    pub(crate) latency: Latencies,
    pub(crate) late_p99_ms: f64,
    pub(crate) sold_out_after_ms: Option<f64>,
    pub(crate) timeline: Vec<Slice>,
    /// Intended start of the first counted request, where the timeline begins.
    pub(crate) first: Duration,
}

pub(crate) fn summarise(evidence: &Evidence, stock: &[(Duration, Option<i64>)]) -> Summary {
    let samples: Vec<&Sample> = evidence
        .samples
        .iter()
        .filter(|sample| evidence.counts(sample))
        .collect();
    let first = samples
        .iter()
        .map(|sample| sample.intended)
        .min()
        .unwrap_or_default();
    let last = samples
        .iter()
        .map(|sample| sample.answered)
        .max()
        .unwrap_or_default();
    let length = last.saturating_sub(first);
    let mut timeline = Timeline::new(step(length));
    for sample in &samples {
        timeline.add(&shifted(sample, first));
    }
    for (at, stock) in stock.iter().filter(|(at, _)| (first..=last).contains(at)) {
        timeline.add_stock(at.saturating_sub(first), *stock);
    }
    let late = |sample: &&Sample| sample.sent.saturating_sub(sample.intended);
    Summary {
        offered: u64::try_from(samples.len()).unwrap_or(u64::MAX),
        seconds: length.as_secs_f64(),
        answers: answers(&samples),
        latency: Latencies {
            winners: latency(
                samples
                    .iter()
                    .filter(|sample| sample.is_buy() && won(sample))
                    .map(|sample| sample.latency()),
            ),
            refusals: latency(
                samples
                    .iter()
                    .filter(|sample| sample.is_buy() && !won(sample))
                    .map(|sample| sample.latency()),
            ),
            others: latency(
                samples
                    .iter()
                    .filter(|sample| !sample.is_buy())
                    .map(|sample| sample.latency()),
            ),
        },
        late_p99_ms: latency(samples.iter().map(late)).p99_ms,
        sold_out_after_ms: sold_out(evidence, first),
        timeline: timeline.until(length),
        first,
    }
}

/// Sums over all products; where the load ends before stock and demand do, possible = sold.
pub(crate) fn units(evidence: &Evidence, expect: &Expect) -> Units {
    let (mut sold, mut possible, mut unsold, mut oversold) = (0, 0, 0, 0);
    let products = evidence
        .offers
        .iter()
        .zip(evidence.sold())
        .zip(evidence.possible());
    for ((offer, units), could) in products.filter(|((offer, _), _)| !offer.is_yardstick) {
        let possible_units = match expect.sold {
            Sold::Possible => could,
            Sold::Any => units,
        };
        sold += units;
        possible += possible_units;
        unsold += possible_units.saturating_sub(units);
        oversold += units.saturating_sub(u64::from(offer.stock));
    }
    Units {
        sold,
        possible,
        unsold,
        oversold,
    }
}

fn won(sample: &Sample) -> bool {
    matches!(sample.answer.status, 201 | 202)
}

fn shifted(sample: &Sample, first: Duration) -> Sample {
    let mut sample = sample.clone();
    sample.intended = sample.intended.saturating_sub(first);
    sample.answered = sample.answered.saturating_sub(first);
    sample
}

/// A round step length for about `STEPS` steps.
fn step(length: Duration) -> Duration {
    let rough = (length / STEPS).max(STEP_LEAST);
    let round = [10, 20, 50, 100, 200, 500, 1_000, 2_000, 5_000, 10_000].map(Duration::from_millis);
    round
        .into_iter()
        .find(|step| *step >= rough)
        .unwrap_or(rough)
}

fn answers(samples: &[&Sample]) -> Vec<Answers> {
    let mut counts: BTreeMap<(u16, &str), u64> = BTreeMap::new();
    for sample in samples {
        *counts
            .entry((sample.answer.status, sample.answer.code.name()))
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
    // Three significant digits, in microseconds; grows as needed.
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

/// When the order of the last unit was answered; `None` while units are left.
fn sold_out(evidence: &Evidence, first: Duration) -> Option<f64> {
    let products: Vec<_> = evidence.offers.iter().zip(&evidence.rows).collect();
    let counted: Vec<_> = products
        .iter()
        .filter(|(offer, _)| !offer.is_yardstick)
        .collect();
    if counted
        .iter()
        .any(|(offer, row)| row.stock != 0 || offer.stock == 0)
    {
        return None;
    }
    let mut last: HashMap<usize, Duration> = HashMap::new();
    for sample in evidence
        .buys()
        .filter(|sample| sample.answer.won() && evidence.counts(sample))
    {
        let known = last.entry(sample.planned.product).or_default();
        *known = (*known).max(sample.answered);
    }
    let latest = last.into_values().max()?;
    Some(millis(latest.saturating_sub(first)))
}
