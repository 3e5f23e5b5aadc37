//! The report as one page that opens offline: no script, no font, no picture from elsewhere, and a
//! policy in its head that forbids them.
//!
//! The pictures are drawn here, as SVG, so that the page shows the same in every browser and years
//! later. Every text from outside goes through [`text::escaped`].

use std::path::Path;

use super::{Ratio, Report, Run, figures, json};
use text::{escaped, joined};

mod axis;
mod chart;
mod colour;
mod latency;
mod panels;
mod run;
mod text;
mod timeline;

const STYLE: &str = include_str!("html/style.css");
const POLICY: &str = "default-src 'none'; style-src 'unsafe-inline'; img-src data:";

/// Writes the page to `path`, over what was there.
pub(crate) fn write(path: &Path, report: &Report) -> anyhow::Result<()> {
    json::replace(path, &page(report))
}

fn page(report: &Report) -> String {
    let runs = joined(
        report
            .runs
            .iter()
            .zip(1..)
            .map(|(run, number)| run::section(run, number)),
    );
    let summary = if report.runs.len() > 1 {
        summary(&report.runs)
    } else {
        String::new()
    };
    // An empty icon keeps the browser from asking for one.
    format!(
        r#"<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="{POLICY}">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<link rel="icon" href="data:,">
<title>Contention: {title}</title>
<style>
{STYLE}</style>
</head>
<body>
{head}
<main>
{ratios}{summary}{runs}</main>
</body>
</html>
"#,
        title = escaped(result(report)),
        head = head(report),
        ratios = ratios(&report.ratios),
    )
}

fn result(report: &Report) -> &'static str {
    if report.held {
        "every promise held"
    } else {
        "a promise was broken"
    }
}

fn head(report: &Report) -> String {
    let checks: usize = report.runs.iter().map(|run| run.checks.len()).sum();
    let class = if report.held { "held" } else { "broken" };
    let facts = [
        ("command", report.command.as_str()),
        ("version", &report.version),
        ("started", &report.started_at),
        ("machine", &report.machine),
    ];
    let facts = joined(
        facts
            .into_iter()
            .filter(|(_, value)| !value.is_empty())
            .map(|(name, value)| format!("<div><dt>{name}</dt><dd>{}</dd></div>", escaped(value))),
    );
    format!(
        r#"<header class="{class}"><p class="tool">flash-sale · contention</p><h1>{mark} {result}</h1><p>{checks} checks in {runs}, {time}.</p><dl>{facts}</dl></header>"#,
        mark = mark(report.held),
        result = capital(result(report)),
        runs = plural(report.runs.len(), "run"),
        time = figures::time(report.seconds * 1_000.0),
    )
}

/// A sign for those who do not see its colour.
fn mark(held: impl Into<Held>) -> &'static str {
    match held.into() {
        Held::Yes => r#"<span class="mark-held" role="img" aria-label="held">✓</span>"#,
        Held::No => r#"<span class="mark-broken" role="img" aria-label="broken">✗</span>"#,
    }
}

enum Held {
    Yes,
    No,
}

impl From<bool> for Held {
    fn from(held: bool) -> Self {
        if held { Self::Yes } else { Self::No }
    }
}

fn ratios(ratios: &[Ratio]) -> String {
    if ratios.is_empty() {
        return String::new();
    }
    let tiles = joined(ratios.iter().map(|ratio| {
        panels::tile(
            &format!("{} ×", figures::decimal(ratio.value)),
            &ratio.what,
            "plain",
        )
    }));
    format!(r#"<section><h2>Compared</h2><div class="tiles">{tiles}</div></section>"#)
}

fn summary(runs: &[Run]) -> String {
    let rows = joined(
        runs.iter()
            .zip(1..)
            .map(|(run, number)| summary_row(run, number)),
    );
    let columns = [
        "scenario",
        "offered",
        "sold",
        "possible",
        "unsold",
        "oversold",
        "sold out after",
        "winners p99",
        "refusals p99",
    ];
    format!(
        "<section><h2>All runs</h2>{}</section>",
        panels::table("All runs", &columns, &rows)
    )
}

fn summary_row(run: &Run, number: usize) -> String {
    let latency = |latency: &super::Latency| match latency.count {
        0 => figures::NONE.to_owned(),
        _ => figures::time(latency.p99_ms),
    };
    let name = format!(
        r##"{} <a href="#run-{number}">{}</a>"##,
        mark(run::held(run)),
        escaped(&run::title(run))
    );
    let cells = [
        figures::count(run.offered),
        figures::count(run.units.sold),
        figures::count(run.units.possible),
        figures::count(run.units.unsold),
        figures::count(run.units.oversold),
        run.sold_out_after_ms
            .map_or_else(|| figures::NONE.to_owned(), figures::time),
        latency(&run.latency.winners),
        latency(&run.latency.refusals),
    ];
    panels::row(&name, &cells)
}

fn plural(number: usize, word: &str) -> String {
    if number == 1 {
        format!("1 {word}")
    } else {
        format!("{number} {word}s")
    }
}

fn capital(text: &str) -> String {
    let mut letters = text.chars();
    letters.next().map_or_else(String::new, |first| {
        first.to_uppercase().chain(letters).collect()
    })
}

#[cfg(test)]
mod tests;
