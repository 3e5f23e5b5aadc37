//! Timeline of a run in steps of equal length: answers by code, stock, latency.

use std::{collections::BTreeMap, time::Duration};

use crate::{record::Sample, report::Slice};

#[derive(Debug)]
pub(crate) struct Timeline {
    step: Duration,
    /// Finished steps.
    done: Vec<Slice>,
    open: Vec<Open>,
}

#[derive(Debug, Default)]
struct Open {
    answers: BTreeMap<&'static str, u64>,
    stock: Option<i64>,
    /// Of purchases.
    latencies: Vec<Duration>,
}

impl Timeline {
    pub(crate) fn new(step: Duration) -> Self {
        Self {
            step,
            done: Vec::new(),
            open: Vec::new(),
        }
    }

    pub(crate) fn add(&mut self, sample: &Sample) {
        let open = self.at(sample.answered);
        *open.answers.entry(sample.answer.code.name()).or_default() += 1;
        if sample.is_buy() {
            open.latencies.push(sample.latency());
        }
    }

    pub(crate) fn add_stock(&mut self, at: Duration, stock: Option<i64>) {
        self.at(at).stock = stock;
    }

    /// The steps that began before `now`; all but the last three are finished.
    pub(crate) fn until(&mut self, now: Duration) -> Vec<Slice> {
        self.at(now);
        // The last answers of a step may be recorded slightly late.
        let finished = self.open.len().saturating_sub(3);
        for open in self.open.drain(..finished) {
            let slice = open.slice(self.step, self.done.len());
            self.done.push(slice);
        }
        let mut slices: Vec<Slice> = self.done.clone();
        for open in &self.open {
            let slice = open.slice(self.step, slices.len());
            slices.push(slice);
        }
        slices
    }

    /// The step of this time, or the first unfinished step.
    fn at(&mut self, at: Duration) -> &mut Open {
        let step = self.step.as_micros().max(1);
        let index = usize::try_from(at.as_micros() / step).unwrap_or_default();
        let index = index.saturating_sub(self.done.len());
        while self.open.len() <= index {
            self.open.push(Open::default());
        }
        let last = self.open.len().saturating_sub(1);
        #[expect(clippy::indexing_slicing, reason = "the loop above made it")]
        &mut self.open[index.min(last)]
    }
}

impl Open {
    fn slice(&self, step: Duration, number: usize) -> Slice {
        let mut latencies = self.latencies.clone();
        latencies.sort_unstable();
        let percentile = |percent: usize| {
            let rank = (latencies.len() * percent).div_ceil(100).saturating_sub(1);
            latencies.get(rank).copied().map(millis)
        };
        let number = u32::try_from(number).unwrap_or(u32::MAX);
        let answers = self.answers.iter();
        Slice {
            at_ms: millis(step.saturating_mul(number)),
            answers: answers
                .map(|(code, count)| ((*code).to_owned(), *count))
                .collect(),
            stock: self.stock,
            p50_ms: percentile(50),
            p99_ms: percentile(99),
        }
    }
}

pub(crate) fn millis(time: Duration) -> f64 {
    time.as_secs_f64() * 1_000.0
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        record::{Answer, Planned, RequestKind},
        report::codes::AnswerCode,
    };

    fn sample(answered_ms: u64, latency_ms: u64) -> Sample {
        let answered = Duration::from_millis(answered_ms);
        let intended = answered.saturating_sub(Duration::from_millis(latency_ms));
        let planned = Planned {
            user: 0,
            product: 0,
            kind: RequestKind::Buy,
            number: 0,
        };
        let answer = Answer {
            status: 201,
            code: AnswerCode::Created,
            ..Answer::default()
        };
        Sample {
            planned,
            attempt: 0,
            node: 0,
            intended,
            sent: intended,
            answered,
            answer,
        }
    }

    #[test]
    fn answers_fall_into_the_step_of_their_time() {
        let mut timeline = Timeline::new(Duration::from_millis(100));
        for at in [10, 20, 110, 450] {
            timeline.add(&sample(at, 10));
        }
        timeline.add_stock(Duration::from_millis(120), Some(7));
        let slices = timeline.until(Duration::from_millis(460));
        let counts: Vec<u64> = slices
            .iter()
            .map(|slice| slice.answers.values().sum())
            .collect();
        assert_eq!(counts, [2, 1, 0, 0, 1]);
        assert_eq!(slices[1].stock, Some(7));
        assert_eq!(slices[0].p50_ms, Some(10.0));
        // A sample that is recorded late still counts.
        timeline.add(&sample(15, 5));
        let slices = timeline.until(Duration::from_millis(460));
        let total: u64 = slices.iter().flat_map(|slice| slice.answers.values()).sum();
        assert_eq!(total, 5);
    }
}
