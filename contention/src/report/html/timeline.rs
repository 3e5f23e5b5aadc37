//! What happened when: answers and stock over the run, with its faults.

use std::collections::BTreeMap;

use super::{
    super::{Fault, Run, Slice, codes, figures},
    axis::{Linear, Tick},
    chart::{self, Labels, Point},
    colour,
    text::short,
};

/// More columns than the picture has on any screen; a longer timeline is drawn coarser.
const SLICES_MAX: usize = 400;
const DAY_MS: f64 = 86_400_000.0;

/// The run's time, as all its pictures share it.
#[derive(Debug)]
pub(super) struct Time<'a> {
    slices: Vec<Slice>,
    step_ms: f64,
    axis: Linear,
    /// Milliseconds to what the axis counts in.
    scale: f64,
    faults: &'a [Fault],
}

impl<'a> Time<'a> {
    pub(super) fn of(run: &'a Run) -> Self {
        let together = run.timeline.len().div_ceil(SLICES_MAX).max(1);
        let slices: Vec<_> = run.timeline.chunks(together).map(merged).collect();
        let step_ms = match slices.as_slice() {
            [first, second, ..] => second.at_ms - first.at_ms,
            _ => run.seconds * 1_000.0,
        };
        let step_ms = if step_ms.is_finite() {
            step_ms.clamp(1.0, DAY_MS)
        } else {
            1.0
        };
        let last_fault = run
            .faults
            .iter()
            .map(|fault| fault.at_ms)
            .fold(0.0, f64::max);
        let end = slices
            .last()
            .map_or(0.0, |slice| slice.at_ms + step_ms)
            .max(last_fault);
        let scale = if end >= 2_000.0 { 0.001 } else { 1.0 };
        Self {
            slices,
            step_ms,
            axis: Linear::until(end * scale),
            scale,
            faults: &run.faults,
        }
    }

    pub(super) fn slices(&self) -> &[Slice] {
        &self.slices
    }

    pub(super) fn ticks(&self) -> &[Tick] {
        &self.axis.ticks
    }

    pub(super) fn unit(&self) -> &'static str {
        if self.scale < 1.0 {
            "along: seconds"
        } else {
            "along: ms"
        }
    }

    fn at(&self, milliseconds: f64) -> f64 {
        self.axis.at(milliseconds * self.scale)
    }

    fn begin(&self, slice: &Slice) -> f64 {
        self.at(slice.at_ms)
    }

    pub(super) fn middle(&self, slice: &Slice) -> f64 {
        self.at(slice.at_ms + self.step_ms / 2.0)
    }

    fn end(&self, slice: &Slice) -> f64 {
        self.at(slice.at_ms + self.step_ms)
    }

    /// Both upper corners of a slice's bar.
    fn bar(&self, slice: &Slice, height: f64) -> [Point; 2] {
        [(self.begin(slice), height), (self.end(slice), height)]
    }

    pub(super) fn column(&self, slice: &Slice, title: &str) -> String {
        if title.is_empty() {
            return String::new();
        }
        let at = figures::time(slice.at_ms);
        chart::column(
            self.begin(slice),
            self.end(slice),
            &format!("at {at}\n{title}"),
        )
    }

    pub(super) fn marks(&self) -> String {
        let numbered = self.faults.iter().zip(1..);
        numbered
            .map(|(fault, number): (_, u32)| {
                let title = format!("at {}: {}", figures::time(fault.at_ms), fault.what);
                chart::mark(self.at(fault.at_ms), &number.to_string(), &title)
            })
            .collect()
    }
}

/// Neighbours as one: the times are the worst of theirs, because a peak must not be averaged away.
fn merged(slices: &[Slice]) -> Slice {
    let mut answers = BTreeMap::<String, u64>::new();
    for (code, count) in slices.iter().flat_map(|slice| &slice.answers) {
        let sum = answers.entry(code.clone()).or_default();
        *sum = sum.saturating_add(*count);
    }
    let worst =
        |figure: fn(&Slice) -> Option<f64>| slices.iter().filter_map(figure).reduce(f64::max);
    Slice {
        at_ms: slices.first().map_or(0.0, |slice| slice.at_ms),
        answers,
        stock: slices.iter().rev().find_map(|slice| slice.stock),
        p50_ms: worst(|slice| slice.p50_ms),
        p99_ms: worst(|slice| slice.p99_ms),
    }
}

/// Answers a second, each code on top of the better ones.
pub(super) fn answers(time: &Time<'_>) -> String {
    const TITLE: &str = "Answers over time";
    let codes = codes::of_timeline(time.slices());
    if codes.is_empty() {
        return chart::nothing(TITLE, "Nothing was answered.");
    }
    let rate = |count: u64| figures::float(count) * 1_000.0 / time.step_ms;
    let total = |slice: &Slice| {
        slice
            .answers
            .values()
            .fold(0, |sum: u64, count| sum.saturating_add(*count))
    };
    let peak = time
        .slices()
        .iter()
        .map(|slice| rate(total(slice)))
        .fold(0.0, f64::max);
    let up = Linear::above(peak);
    let mut below = vec![0.0; time.slices().len()];
    let mut inside = String::new();
    for ((code, _), class) in codes.iter().zip(colour::classes(&codes)) {
        let of_code = |slice: &Slice| rate(slice.answers.get(code).copied().unwrap_or_default());
        let above: Vec<_> = below
            .iter()
            .zip(time.slices())
            .map(|(sum, slice)| sum + of_code(slice))
            .collect();
        let outline = |sums: &[f64]| -> Vec<Point> {
            let bars = time.slices().iter().zip(sums);
            bars.flat_map(|(slice, sum)| time.bar(slice, up.at(*sum)))
                .collect()
        };
        inside += &chart::area(&class, &outline(&above), &outline(&below));
        below = above;
    }
    for slice in time.slices() {
        inside += &time.column(slice, &listed(slice));
    }
    let labels = Labels {
        title: TITLE,
        told: format!("{TITLE}: at most {} a second", figures::decimal(peak)),
        up: "up: answers/s",
        along: time.unit(),
    };
    let classes = colour::classes(&codes);
    let legend = chart::legend(codes.iter().zip(&classes).map(|((code, count), class)| {
        (
            class.as_str(),
            format!("{} {}", short(code), figures::count(*count)),
        )
    }));
    chart::figure(&labels, time.ticks(), &up.ticks, &(inside + &time.marks())) + &legend
}

fn listed(slice: &Slice) -> String {
    let lines = slice.answers.iter().filter(|(_, count)| **count > 0);
    let lines: Vec<_> = lines
        .map(|(code, count)| format!("{code} {}", figures::count(*count)))
        .collect();
    lines.join("\n")
}

/// Units left, as steps: stock does not fall gradually.
pub(super) fn stock(run: &Run, time: &Time<'_>) -> String {
    const TITLE: &str = "Stock over time";
    let seen = || {
        time.slices()
            .iter()
            .filter_map(|slice| Some((slice, slice.stock?)))
    };
    if seen().next().is_none() {
        return chart::nothing(TITLE, "Nobody could tell the stock during the run.");
    }
    let units = |stock: i64| figures::float(u64::try_from(stock).unwrap_or_default());
    let most = seen()
        .map(|(_, stock)| units(stock))
        .fold(figures::float(run.stock), f64::max);
    let up = Linear::above(most);
    let mut height = up.at(figures::float(run.stock));
    let mut steps = vec![(0.0, height)];
    for (slice, stock) in seen() {
        let (at, now) = (time.end(slice), up.at(units(stock)));
        steps.extend([(at, height), (at, now)]);
        height = now;
    }
    let floor = [(0.0, 0.0), (steps.last().map_or(1.0, |(at, _)| *at), 0.0)];
    let mut inside = chart::area("stock", &steps, &floor) + &chart::line("stock", &steps);
    for (slice, stock) in seen() {
        inside += &time.column(slice, &format!("{stock} left"));
    }
    let left = seen().next_back().map_or(0, |(_, stock)| stock);
    let labels = Labels {
        title: TITLE,
        told: format!(
            "{TITLE}: from {} to {left} units",
            figures::count(run.stock)
        ),
        up: "up: units left",
        along: time.unit(),
    };
    chart::figure(&labels, time.ticks(), &up.ticks, &(inside + &time.marks()))
}
