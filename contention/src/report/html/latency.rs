//! Latency charts: percentile distribution, and p50 and p99 over the run.

use maud::{Markup, html};

use super::{
    super::{Latencies, Latency, Slice, figures},
    axis::{Linear, Logarithmic, Percentiles, Tick},
    chart::{self, Labels},
    timeline::Time,
};

/// Points of a curve at most; a screen has no more columns.
const POINTS_MAX: usize = 400;
/// From this ratio of the largest to the smallest value the scale is logarithmic, because an even
/// scale would hide the small values.
const SPREAD: f64 = 30.0;

/// The vertical axis: even or logarithmic, depending on the spread of the values.
enum Height {
    Even(Linear),
    Powers(Logarithmic),
}

impl Height {
    fn over(values: impl Iterator<Item = f64> + Clone) -> Self {
        let largest = values.clone().fold(0.0, f64::max);
        let positive = values.filter(|value| *value > 0.0);
        let smallest = positive.fold(f64::INFINITY, f64::min);
        if largest > smallest * SPREAD {
            Self::Powers(Logarithmic::over(smallest, largest))
        } else {
            Self::Even(Linear::above(largest))
        }
    }

    fn at(&self, value: f64) -> f64 {
        match self {
            Self::Even(axis) => axis.at(value),
            Self::Powers(axis) => axis.at(value),
        }
    }

    fn ticks(&self) -> &[Tick] {
        match self {
            Self::Even(axis) => &axis.ticks,
            Self::Powers(axis) => &axis.ticks,
        }
    }

    fn unit(&self) -> &'static str {
        match self {
            Self::Even(_) => "up: ms",
            Self::Powers(_) => "up: ms, powers of ten",
        }
    }
}

/// Winners, refusals and others with name and colour, without the empty ones.
pub(super) fn parts(latencies: &Latencies) -> Vec<(&'static str, &'static str, &Latency)> {
    let parts = [
        ("winners", "won", &latencies.winners),
        ("refusals", "refused", &latencies.refusals),
        ("others", "served", &latencies.others),
    ];
    parts
        .into_iter()
        .filter(|(_, _, latency)| latency.count > 0)
        .collect()
}

pub(super) fn distribution(latencies: &Latencies) -> Markup {
    const TITLE: &str = "Latency by percentile";
    let parts = parts(latencies);
    if parts.iter().all(|(_, _, latency)| latency.curve.is_empty()) {
        return chart::nothing(TITLE, "No answer was timed.");
    }
    let samples = parts.iter().map(|(_, _, latency)| latency.count).max();
    let along = Percentiles::of(samples.unwrap_or_default());
    let values = || parts.iter().flat_map(|(_, _, latency)| &latency.curve);
    let up = Height::over(values().map(|(_, milliseconds)| *milliseconds));
    let points = |latency: &Latency| -> Vec<_> {
        let every = latency.curve.len().div_ceil(POINTS_MAX).max(1);
        // The last is the maximum, which must not be skipped.
        let last = latency.curve.len().saturating_sub(1);
        let numbered = latency.curve.iter().enumerate();
        numbered
            .filter(|(number, _)| number % every == 0 || *number == last)
            .map(|(_, (percentile, value))| (along.at(*percentile), up.at(*value)))
            .collect()
    };
    let inside = html! {
        @for (_, class, latency) in &parts { (chart::line(class, &points(latency))) }
    };
    let described: Vec<_> = parts
        .iter()
        .map(|(name, _, latency)| described(name, latency))
        .collect();
    let labels = Labels {
        title: TITLE,
        alt: format!("{TITLE}. {}", described.join(". ")),
        up: up.unit(),
        along: "along: percentile",
    };
    let legend = parts.iter().map(|(name, class, latency)| {
        let (p50, p99) = (figures::time(latency.p50_ms), figures::time(latency.p99_ms));
        let text = format!("{name}: half within {p50}, 99 % within {p99}");
        (*class, text)
    });
    html! {
        (chart::figure(&labels, &along.ticks, up.ticks(), &inside))
        (chart::legend(legend))
    }
}

fn described(name: &str, latency: &Latency) -> String {
    format!(
        "{name}: p50 {}, p99 {}, max {}",
        figures::time(latency.p50_ms),
        figures::time(latency.p99_ms),
        figures::time(latency.max_ms)
    )
}

/// p50 and p99 of order requests in each slice.
pub(super) fn over_time(time: &Time<'_>) -> Markup {
    const TITLE: &str = "Latency over time";
    let values = || {
        let of_slice = |slice: &Slice| [slice.p50_ms, slice.p99_ms];
        time.slices().iter().flat_map(of_slice).flatten()
    };
    if values().next().is_none() {
        return chart::nothing(TITLE, "No order was answered.");
    }
    let up = Height::over(values());
    let tooltip = |slice: &Slice| {
        let both = slice.p50_ms.zip(slice.p99_ms);
        both.map_or_else(String::new, |(p50, p99)| {
            format!("p50 {}\np99 {}", figures::time(p50), figures::time(p99))
        })
    };
    let inside = html! {
        @for (class, figure) in [("p99", Figure::P99), ("p50", Figure::P50)] {
            @for stretch in stretches(time, &up, figure) { (chart::line(class, &stretch)) }
        }
        @for slice in time.slices() { (time.column(slice, &tooltip(slice))) }
        (time.marks())
    };
    let labels = Labels {
        title: TITLE,
        alt: format!(
            "{TITLE}: the highest p99 was {}",
            figures::time(values().fold(0.0, f64::max))
        ),
        up: up.unit(),
        along: time.unit(),
    };
    let legend = [("p50", "p50 of orders"), ("p99", "p99 of orders")];
    let legend = legend.map(|(class, text)| (class, text.to_owned()));
    html! {
        (chart::figure(&labels, time.ticks(), up.ticks(), &inside))
        (chart::legend(legend.into_iter()))
    }
}

#[derive(Clone, Copy)]
enum Figure {
    P50,
    P99,
}

/// The parts of a line, which has gaps where no order was answered.
fn stretches(time: &Time<'_>, up: &Height, figure: Figure) -> Vec<Vec<chart::Point>> {
    let value = |slice: &Slice| match figure {
        Figure::P50 => slice.p50_ms,
        Figure::P99 => slice.p99_ms,
    };
    time.slices()
        .split(|slice| value(slice).is_none())
        .filter(|stretch| !stretch.is_empty())
        .map(|stretch| {
            let points = stretch
                .iter()
                .filter_map(|slice| Some((slice, value(slice)?)));
            points
                .map(|(slice, value)| (time.middle(slice), up.at(value)))
                .collect()
        })
        .collect()
}
