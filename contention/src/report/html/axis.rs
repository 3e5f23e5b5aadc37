//! Chart axes: grid lines and positions of values on linear, logarithmic and percentile scales.
//!
//! Positions are fractions from 0 (left, bottom) to 1 (right, top).

use super::super::figures;

/// A line of the grid.
#[derive(Debug)]
pub(super) struct Tick {
    pub(super) at: f64,
    pub(super) label: String,
}

/// A linear axis from 0, with even steps.
#[derive(Debug)]
pub(super) struct Linear {
    pub(super) ticks: Vec<Tick>,
    end: f64,
}

impl Linear {
    /// Ends at the last value: for time, which ends with the run.
    pub(super) fn until(end: f64) -> Self {
        let end = positive(end);
        let step = step(end);
        Self::with(end, step, (end / step).floor())
    }

    /// Ends at the first grid line at or above the largest value.
    pub(super) fn above(largest: f64) -> Self {
        let largest = positive(largest);
        let step = step(largest);
        let steps = (largest / step).ceil();
        Self::with(step * steps, step, steps)
    }

    fn with(end: f64, step: f64, steps: f64) -> Self {
        // At most ten steps, so that counting in floats is exact.
        let mut ticks = Vec::new();
        let mut number = 0.0;
        while number <= steps && ticks.len() <= 10 {
            let value = step * number;
            ticks.push(Tick {
                at: (value / end).min(1.0),
                label: label(value),
            });
            number += 1.0;
        }
        Self { ticks, end }
    }

    pub(super) fn at(&self, value: f64) -> f64 {
        within(value / self.end)
    }
}

/// A logarithmic axis, for times that differ by orders of magnitude.
#[derive(Debug)]
pub(super) struct Logarithmic {
    pub(super) ticks: Vec<Tick>,
    begin: f64,
    decades: f64,
}

impl Logarithmic {
    pub(super) fn over(smallest: f64, largest: f64) -> Self {
        let largest = positive(largest);
        let smallest = positive(smallest).min(largest).max(largest * 1e-9);
        let begin = smallest.log10().floor();
        let decades = (largest.log10().ceil() - begin).max(1.0);
        let mut ticks = Vec::new();
        let mut number = 0.0;
        while number <= decades {
            ticks.push(Tick {
                at: number / decades,
                label: label(10_f64.powf(begin + number)),
            });
            number += 1.0;
        }
        Self {
            ticks,
            begin,
            decades,
        }
    }

    pub(super) fn at(&self, value: f64) -> f64 {
        if value > 0.0 {
            within((value.log10() - self.begin) / self.decades)
        } else {
            0.0
        }
    }
}

/// An axis of percentiles, on which each further nine has the same width.
#[derive(Debug)]
pub(super) struct Percentiles {
    pub(super) ticks: Vec<Tick>,
    nines: f64,
}

impl Percentiles {
    /// With as many nines as `samples` can resolve, from two to four.
    pub(super) fn of(samples: u64) -> Self {
        let nines = figures::float(samples.max(1)).log10().clamp(2.0, 4.0) + 0.4;
        let mut axis = Self {
            ticks: Vec::new(),
            nines,
        };
        for (percentile, label) in [
            (0.0, "0"),
            (50.0, "50"),
            (90.0, "90"),
            (99.0, "99"),
            (99.9, "99.9"),
            (99.99, "99.99"),
            (100.0, "max"),
        ] {
            let at = axis.at(percentile);
            if percentile >= 100.0 || at < 0.92 {
                let label = label.to_owned();
                axis.ticks.push(Tick { at, label });
            }
        }
        axis
    }

    pub(super) fn at(&self, percentile: f64) -> f64 {
        let rest = 1.0 - percentile / 100.0;
        if rest <= 0.0 {
            1.0
        } else {
            within(-rest.log10() / self.nines)
        }
    }
}

/// Steps of a scale at most.
const STEPS: f64 = 7.0;

/// 1, 2 or 5 times a power of ten, so that there are three to seven steps to `end`.
fn step(end: f64) -> f64 {
    let power = 10_f64.powf((end / STEPS).log10().floor());
    let wanted = end / STEPS / power;
    let factor = if wanted <= 1.0 {
        1.0
    } else if wanted <= 2.0 {
        2.0
    } else if wanted <= 5.0 {
        5.0
    } else {
        10.0
    };
    power * factor
}

fn positive(value: f64) -> f64 {
    if value.is_finite() && value > 0.0 {
        value
    } else {
        1.0
    }
}

fn within(fraction: f64) -> f64 {
    if fraction.is_nan() {
        0.0
    } else {
        fraction.clamp(0.0, 1.0)
    }
}

/// `0.5`, `20`, `5k`, `2M`: short, because the chart is small.
fn label(value: f64) -> String {
    let (value, unit) = [(1e12, "T"), (1e9, "G"), (1e6, "M"), (1e4, "k")]
        .into_iter()
        .find(|(least, _)| value >= *least)
        .map_or((value, ""), |(least, unit)| {
            (value / if least < 1e6 { 1e3 } else { least }, unit)
        });
    let text = format!("{value:.3}");
    let text = text.trim_end_matches('0').trim_end_matches('.');
    format!("{text}{unit}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn labels(ticks: &[Tick]) -> Vec<&str> {
        ticks.iter().map(|tick| tick.label.as_str()).collect()
    }

    #[test]
    fn grid_lines_have_round_numbers() {
        assert_eq!(
            labels(&Linear::above(237.0).ticks),
            ["0", "50", "100", "150", "200", "250"]
        );
        assert_eq!(
            labels(&Linear::above(43_000.0).ticks),
            ["0", "10k", "20k", "30k", "40k", "50k"]
        );
        let time = Linear::until(2.3);
        assert_eq!(labels(&time.ticks), ["0", "0.5", "1", "1.5", "2"]);
        assert!((time.at(2.3) - 1.0).abs() < 1e-9);
    }

    #[test]
    fn extreme_numbers_stay_on_the_chart() {
        for value in [0.0, -1.0, f64::NAN, f64::INFINITY, 1e300, 1e-300] {
            let (linear, logarithmic) = (Linear::above(value), Logarithmic::over(value, 1e300));
            assert!(
                (2..=11).contains(&linear.ticks.len()),
                "{value}: {linear:?}"
            );
            assert!(logarithmic.ticks.len() <= 12, "{value}: {logarithmic:?}");
            for at in [linear.at(value), logarithmic.at(value)] {
                assert!((0.0..=1.0).contains(&at), "{value} lies at {at}");
            }
        }
    }

    #[test]
    fn each_nine_has_the_same_width() {
        let axis = Percentiles::of(1_000_000);
        let (one, two, three) = (axis.at(90.0), axis.at(99.0), axis.at(99.9));
        assert!((two - 2.0 * one).abs() < 1e-9 && (three - 3.0 * one).abs() < 1e-9);
        assert!((axis.at(100.0) - 1.0).abs() < 1e-9);
        let few = Percentiles::of(3);
        assert_eq!(labels(&few.ticks), ["0", "50", "90", "99", "max"]);
    }
}
