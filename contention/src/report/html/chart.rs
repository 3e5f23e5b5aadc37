//! A small picture: a grid, its labels, and what is drawn inside it.

use std::iter;

use super::{
    axis::Tick,
    text::{escaped, joined},
};

const WIDTH: f64 = 600.0;
const HEIGHT: f64 = 260.0;
const LEFT: f64 = 58.0;
const RIGHT: f64 = 24.0;
const TOP: f64 = 30.0;
const BOTTOM: f64 = 34.0;

/// What stands around a picture.
#[derive(Debug)]
pub(super) struct Labels<'a> {
    pub(super) title: &'a str,
    /// For those who cannot see it.
    pub(super) told: String,
    pub(super) up: &'a str,
    pub(super) along: &'a str,
}

/// A point as fractions of the plot, from its lower left corner.
pub(super) type Point = (f64, f64);

/// The whole figure: heading, picture, legend.
pub(super) fn figure(labels: &Labels<'_>, along: &[Tick], up: &[Tick], inside: &str) -> String {
    let floor = HEIGHT - BOTTOM;
    let across = joined(up.iter().map(|tick| {
        let (end, beside, y) = (WIDTH - RIGHT, LEFT - 8.0, y(tick.at));
        let (base, label) = (y + 4.0, escaped(&tick.label));
        format!(
            r#"<line class="grid" x1="{LEFT}" x2="{end}" y1="{y:.1}" y2="{y:.1}"/><text class="up" x="{beside}" y="{base:.1}">{label}</text>"#
        )
    }));
    let below = joined(along.iter().map(|tick| {
        let (end, base, x) = (floor + 4.0, floor + 20.0, x(tick.at));
        let label = escaped(&tick.label);
        format!(
            r#"<line class="grid" x1="{x:.1}" x2="{x:.1}" y1="{floor}" y2="{end}"/><text class="along" x="{x:.1}" y="{base}">{label}</text>"#
        )
    }));
    format!(
        r#"<h4>{title} <small>{up}; {along}</small></h4><svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{told}">{across}{below}{inside}</svg>"#,
        title = escaped(labels.title),
        up = escaped(labels.up),
        along = escaped(labels.along),
        told = escaped(&labels.told),
    )
}

/// Said instead of a picture.
pub(super) fn nothing(title: &str, why: &str) -> String {
    format!(
        r#"<h4>{}</h4><p class="nothing">{}</p>"#,
        escaped(title),
        escaped(why)
    )
}

pub(super) fn line(class: &str, points: &[Point]) -> String {
    if let [(left, height)] = points {
        return format!(
            r#"<circle class="dot {class}" cx="{:.1}" cy="{:.1}" r="4"/>"#,
            x(*left),
            y(*height)
        );
    }
    format!(r#"<path class="line {class}" d="{}"/>"#, path(points))
}

/// Filled between two lines that have the same ends.
pub(super) fn area(class: &str, top: &[Point], bottom: &[Point]) -> String {
    let around: Vec<_> = top.iter().chain(bottom.iter().rev()).copied().collect();
    format!(r#"<path class="area {class}" d="{}Z"/>"#, path(&around))
}

/// A line from top to bottom with a number above it.
pub(super) fn mark(at: f64, name: &str, title: &str) -> String {
    let x = x(at);
    format!(
        r#"<g class="mark"><title>{title}</title><line x1="{x:.1}" x2="{x:.1}" y1="{TOP}" y2="{floor}"/><circle cx="{x:.1}" cy="17" r="10"/><text x="{x:.1}" y="21.5">{name}</text></g>"#,
        title = escaped(title),
        name = escaped(name),
        floor = HEIGHT - BOTTOM,
    )
}

/// An invisible column that says what is in it when the pointer rests there.
pub(super) fn column(from: f64, to: f64, title: &str) -> String {
    let left = x(from);
    format!(
        r#"<rect class="hover" x="{left:.1}" y="{TOP}" width="{:.1}" height="{}"><title>{}</title></rect>"#,
        (x(to) - left).max(1.0),
        HEIGHT - BOTTOM - TOP,
        escaped(title)
    )
}

/// Coloured names below a picture.
pub(super) fn legend<'a>(entries: impl Iterator<Item = (&'a str, String)>) -> String {
    let items =
        joined(entries.map(|(class, text)| format!(r#"<li><i class="{class}"></i>{text}</li>"#)));
    format!(r#"<ul class="legend">{items}</ul>"#)
}

fn path(points: &[Point]) -> String {
    let commands = iter::once('M').chain(iter::repeat('L'));
    joined(
        commands
            .zip(points)
            .map(|(command, (left, height))| format!("{command}{:.1} {:.1}", x(*left), y(*height))),
    )
}

fn x(fraction: f64) -> f64 {
    LEFT + fraction * (WIDTH - LEFT - RIGHT)
}

fn y(fraction: f64) -> f64 {
    HEIGHT - BOTTOM - fraction * (HEIGHT - BOTTOM - TOP)
}
