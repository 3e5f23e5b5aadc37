//! Charts over time: answers by code and stock, with marks of the faults.

use std::collections::BTreeMap;

use maud::{Markup, html};

use super::{
    super::{Fault, Run, Slice, codes, figures},
    axis::{Linear, Tick},
    chart::{self, Labels, Point},
    colour,
};

/// Columns at most, more than any screen shows; slices of a longer timeline are merged.
const SLICES_MAX: usize = 400;
/// Letters of a code in a legend at most.
const CODE_MAX: usize = 40;
const DAY_MS: f64 = 86_400_000.0;

/// The time axis that all charts of a run share.
#[derive(Debug)]
pub(super) struct Time<'a> {
    slices: Vec<Slice>,
    step_ms: f64,
    axis: Linear,
    /// Factor from milliseconds to the unit of the axis.
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

    /// The tooltip of a slice; nothing where `title` is empty.
    pub(super) fn column(&self, slice: &Slice, title: &str) -> Markup {
        let (from, to) = (self.begin(slice), self.end(slice));
        let title =
            (!title.is_empty()).then(|| format!("at {}\n{title}", figures::time(slice.at_ms)));
        html! {
            @if let Some(title) = title { (chart::column(from, to, &title)) }
        }
    }

    /// A numbered mark for each fault.
    pub(super) fn marks(&self) -> Markup {
        let mark = |fault: &Fault, number: u32| {
            let title = format!("at {}: {}", figures::time(fault.at_ms), fault.what);
            chart::mark(self.at(fault.at_ms), &number.to_string(), &title)
        };
        html! {
            @for (fault, number) in self.faults.iter().zip(1..) { (mark(fault, number)) }
        }
    }
}

/// Neighbouring slices as one, with their highest latencies, so that no peak is averaged away.
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

/// Answers a second, stacked by code from the best class to the worst.
pub(super) fn answers(time: &Time<'_>) -> Markup {
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
    let classes = colour::classes(&codes);
    let mut below = vec![0.0; time.slices().len()];
    let mut areas = Vec::new();
    for ((code, _), class) in codes.iter().zip(&classes) {
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
        areas.push(chart::area(class, &outline(&above), &outline(&below)));
        below = above;
    }
    let inside = html! {
        @for area in &areas { (area) }
        @for slice in time.slices() { (time.column(slice, &listed(slice))) }
        (time.marks())
    };
    let labels = Labels {
        title: TITLE,
        alt: format!("{TITLE}: at most {} a second", figures::decimal(peak)),
        up: "up: answers/s",
        along: time.unit(),
    };
    let legend = codes.iter().zip(&classes).map(|((code, count), class)| {
        let text = format!("{} {}", short(code), figures::count(*count));
        (class.as_str(), text)
    });
    html! {
        (chart::figure(&labels, time.ticks(), &up.ticks, &inside))
        (chart::legend(legend))
    }
}

/// A code, cut where a legend has no more room.
fn short(code: &str) -> String {
    if code.chars().count() <= CODE_MAX {
        return code.to_owned();
    }
    let begin: String = code.chars().take(CODE_MAX - 1).collect();
    begin + "…"
}

fn listed(slice: &Slice) -> String {
    let lines = slice.answers.iter().filter(|(_, count)| **count > 0);
    let lines: Vec<_> = lines
        .map(|(code, count)| format!("{code} {}", figures::count(*count)))
        .collect();
    lines.join("\n")
}

/// Units left, drawn as steps, because stock does not fall gradually.
pub(super) fn stock(run: &Run, time: &Time<'_>) -> Markup {
    const TITLE: &str = "Stock over time";
    let known = || {
        time.slices()
            .iter()
            .filter_map(|slice| Some((slice, slice.stock?)))
    };
    if known().next().is_none() {
        return chart::nothing(TITLE, "The stock could not be read during the run.");
    }
    let units = |stock: i64| figures::float(u64::try_from(stock).unwrap_or_default());
    let most = known()
        .map(|(_, stock)| units(stock))
        .fold(figures::float(run.stock), f64::max);
    let up = Linear::above(most);
    let mut height = up.at(figures::float(run.stock));
    let mut steps = vec![(0.0, height)];
    for (slice, stock) in known() {
        let (at, now) = (time.end(slice), up.at(units(stock)));
        steps.extend([(at, height), (at, now)]);
        height = now;
    }
    let floor = [(0.0, 0.0), (steps.last().map_or(1.0, |(at, _)| *at), 0.0)];
    let inside = html! {
        (chart::area("stock", &steps, &floor))
        (chart::line("stock", &steps))
        @for (slice, stock) in known() { (time.column(slice, &format!("{stock} left"))) }
        (time.marks())
    };
    let left = known().next_back().map_or(0, |(_, stock)| stock);
    let labels = Labels {
        title: TITLE,
        alt: format!(
            "{TITLE}: from {} to {left} units",
            figures::count(run.stock)
        ),
        up: "up: units left",
        along: time.unit(),
    };
    chart::figure(&labels, time.ticks(), &up.ticks, &inside)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_code_is_cut_between_letters() {
        assert_eq!(short(&"é".repeat(1_000)).chars().count(), 40);
        assert_eq!(short("sold_out"), "sold_out");
    }
}
