//! Renders the report as one HTML page that opens offline: no script, font or image from elsewhere,
//! and a content security policy that forbids them.
//!
//! The charts are SVG made here, so that the page looks the same in every browser and years later.
//! `maud` escapes every text; `PreEscaped` marks only the style sheet.

use std::path::Path;

use maud::{DOCTYPE, Markup, PreEscaped, html};

use super::{Latency, Ratio, Report, Run, figures, json};

mod axis;
mod chart;
mod colour;
mod latency;
mod panels;
mod run;
mod timeline;

const STYLE: &str = include_str!("html/style.css");
const POLICY: &str = "default-src 'none'; style-src 'unsafe-inline'; img-src data:";

/// Writes the page to `path` and replaces an existing file.
pub(crate) fn write(path: &Path, report: &Report) -> anyhow::Result<()> {
    json::replace(path, &page(report))
}

fn page(report: &Report) -> String {
    let page = html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta http-equiv="Content-Security-Policy" content=(POLICY);
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta name="color-scheme" content="light dark";
                // An empty icon keeps the browser from requesting one.
                link rel="icon" href="data:,";
                title { "Contention: " (result(report)) }
                style { (PreEscaped(STYLE)) }
            }
            body {
                (header(report))
                main {
                    @if !report.ratios.is_empty() { (ratios(&report.ratios)) }
                    @if report.runs.len() > 1 { (summary(&report.runs)) }
                    @for (run, number) in report.runs.iter().zip(1..) {
                        (run::section(run, number))
                    }
                }
            }
        }
    };
    without_controls(&page.into_string())
}

/// Replaces control characters, which HTML forbids.
fn without_controls(page: &str) -> String {
    page.replace(|c: char| c.is_control() && c != '\n', "\u{fffd}")
}

fn result(report: &Report) -> &'static str {
    if report.held {
        "every promise held"
    } else {
        "a promise was broken"
    }
}

fn header(report: &Report) -> Markup {
    let checks: usize = report.runs.iter().map(|run| run.checks.len()).sum();
    let class = if report.held { "held" } else { "broken" };
    let facts = [
        ("command", &report.command),
        ("version", &report.version),
        ("started", &report.started_at),
        ("machine", &report.machine),
    ];
    html! {
        header class=(class) {
            p.tool { "flash-sale · contention" }
            h1 { (mark(report.held)) " " (capital(result(report))) }
            p {
                (checks) " checks in " (plural(report.runs.len(), "run")) ", "
                (figures::time(report.seconds * 1_000.0)) "."
            }
            dl {
                @for (name, value) in facts.iter().filter(|(_, value)| !value.is_empty()) {
                    div { dt { (name) } dd { (value) } }
                }
            }
        }
    }
}

/// A check mark or a cross, readable without its colour.
fn mark(held: bool) -> Markup {
    html! {
        @if held {
            span.mark-held role="img" aria-label="held" { "✓" }
        } @else {
            span.mark-broken role="img" aria-label="broken" { "✗" }
        }
    }
}

fn ratios(ratios: &[Ratio]) -> Markup {
    html! {
        section {
            h2 { "Compared" }
            div.tiles {
                @for ratio in ratios {
                    (panels::tile(
                        &format!("{} ×", figures::decimal(ratio.value)),
                        &ratio.what,
                        "plain",
                    ))
                }
            }
        }
    }
}

fn summary(runs: &[Run]) -> Markup {
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
    let rows = html! {
        @for (run, number) in runs.iter().zip(1..) { (summary_row(run, number)) }
    };
    html! {
        section {
            h2 { "All runs" }
            (panels::table("All runs", &columns, &rows))
        }
    }
}

fn summary_row(run: &Run, number: usize) -> Markup {
    let latency = |latency: &Latency| match latency.count {
        0 => figures::NONE.to_owned(),
        _ => figures::time(latency.p99_ms),
    };
    let name = html! {
        (mark(run::held(run))) " "
        a href=(format_args!("#run-{number}")) { (run::title(run)) }
    };
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

fn plural(number: usize, noun: &str) -> String {
    if number == 1 {
        format!("1 {noun}")
    } else {
        format!("{number} {noun}s")
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
