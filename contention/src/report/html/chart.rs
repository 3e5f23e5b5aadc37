//! SVG line and area charts: grid, axis labels, lines, areas, fault marks, legend.

use maud::{Markup, html};

use super::axis::Tick;

const WIDTH: f64 = 600.0;
const HEIGHT: f64 = 260.0;
const LEFT: f64 = 58.0;
const RIGHT: f64 = 24.0;
const TOP: f64 = 30.0;
const BOTTOM: f64 = 34.0;
/// The lower edge of the plot.
const FLOOR: f64 = HEIGHT - BOTTOM;

/// The texts of a chart.
#[derive(Debug)]
pub(super) struct Labels<'a> {
    pub(super) title: &'a str,
    /// For screen readers.
    pub(super) alt: String,
    pub(super) up: &'a str,
    pub(super) along: &'a str,
}

/// A point as fractions of the plot, from its lower left corner.
pub(super) type Point = (f64, f64);

/// The heading and the chart.
pub(super) fn figure(labels: &Labels<'_>, along: &[Tick], up: &[Tick], inside: &Markup) -> Markup {
    html! {
        h4 { (labels.title) " " small { (labels.up) "; " (labels.along) } }
        svg viewBox=(format_args!("0 0 {WIDTH} {HEIGHT}")) role="img" aria-label=(labels.alt) {
            @for tick in up {
                @let y = y(tick.at);
                line.grid x1=(LEFT) x2=(WIDTH - RIGHT) y1=(tenth(y)) y2=(tenth(y)) {}
                text.up x=(LEFT - 8.0) y=(tenth(y + 4.0)) { (tick.label) }
            }
            @for tick in along {
                @let x = tenth(x(tick.at));
                line.grid x1=(x) x2=(x) y1=(FLOOR) y2=(FLOOR + 4.0) {}
                text.along x=(x) y=(FLOOR + 20.0) { (tick.label) }
            }
            (inside)
        }
    }
}

/// A heading and the reason why there is no chart.
pub(super) fn nothing(title: &str, why: &str) -> Markup {
    html! {
        h4 { (title) }
        p.nothing { (why) }
    }
}

pub(super) fn line(class: &str, points: &[Point]) -> Markup {
    html! {
        @if let [(left, height)] = points {
            circle.dot.(class) cx=(tenth(x(*left))) cy=(tenth(y(*height))) r="4" {}
        } @else {
            path.line.(class) d=(path(points)) {}
        }
    }
}

/// The area between two lines with the same ends.
pub(super) fn area(class: &str, top: &[Point], bottom: &[Point]) -> Markup {
    let around: Vec<_> = top.iter().chain(bottom.iter().rev()).copied().collect();
    html! { path.area.(class) d={ (path(&around)) "Z" } {} }
}

/// A vertical line with a number above it.
pub(super) fn mark(at: f64, name: &str, title: &str) -> Markup {
    let x = tenth(x(at));
    html! {
        g.mark {
            title { (title) }
            line x1=(x) x2=(x) y1=(TOP) y2=(FLOOR) {}
            circle cx=(x) cy="17" r="10" {}
            text x=(x) y="21.5" { (name) }
        }
    }
}

/// An invisible column with a tooltip.
pub(super) fn column(from: f64, to: f64, title: &str) -> Markup {
    let left = x(from);
    let width = (x(to) - left).max(1.0);
    html! {
        rect.hover x=(tenth(left)) y=(TOP) width=(tenth(width)) height=(FLOOR - TOP) {
            title { (title) }
        }
    }
}

/// Coloured names below a chart.
pub(super) fn legend<'a>(entries: impl Iterator<Item = (&'a str, String)>) -> Markup {
    html! {
        ul.legend {
            @for (class, text) in entries {
                li { i class=(class) {} (text) }
            }
        }
    }
}

fn path(points: &[Point]) -> String {
    let points = points
        .iter()
        .map(|(left, height)| format!("{:.1} {:.1}", x(*left), y(*height)));
    format!("M{}", points.collect::<Vec<_>>().join("L"))
}

/// A coordinate, precise enough for every screen.
fn tenth(coordinate: f64) -> String {
    format!("{coordinate:.1}")
}

fn x(fraction: f64) -> f64 {
    LEFT + fraction * (WIDTH - LEFT - RIGHT)
}

fn y(fraction: f64) -> f64 {
    FLOOR - fraction * (FLOOR - TOP)
}
