//! Tiles, tables and lists of the page.

use std::slice;

use maud::{Markup, html};

use super::{
    super::{Answers, Check, Run, codes, figures},
    latency, mark,
};

/// A large figure with its name. `class` is `good`, `bad` or `plain`.
pub(super) fn tile(figure: &str, name: &str, class: &str) -> Markup {
    html! {
        div.tile.(class) { strong { (figure) } span { (name) } }
    }
}

/// A wide table scrolls within the page.
pub(super) fn table(name: &str, columns: &[&str], rows: &Markup) -> Markup {
    html! {
        div.scroll role="region" aria-label=(name) tabindex="0" {
            table {
                thead { tr { @for column in columns { th scope="col" { (column) } } } }
                tbody { (rows) }
            }
        }
    }
}

pub(super) fn row(name: &Markup, cells: &[String]) -> Markup {
    html! {
        tr {
            th scope="row" { (name) }
            @for cell in cells { td { (cell) } }
        }
    }
}

pub(super) fn answers(answers: &[Answers]) -> Markup {
    let ordered = codes::ordered(answers);
    let total = ordered
        .iter()
        .fold(0, |sum: u64, answer| sum.saturating_add(answer.count));
    let rows = html! {
        @for answer in &ordered { (answer_row(answer, total)) }
    };
    let columns = ["code", "status", "count", "share"];
    html! {
        h4 { "Answers" }
        @if ordered.is_empty() {
            p.nothing { "Nothing was answered." }
        } @else {
            (table("Answers by code", &columns, &rows))
        }
    }
}

fn answer_row(answer: &Answers, total: u64) -> Markup {
    let status = match answer.status {
        0 => figures::NONE.to_owned(),
        status => status.to_string(),
    };
    let share = 100.0 * figures::float(answer.count) / figures::float(total.max(1));
    let hue = codes::CodeClass::of(&answer.code).name();
    let name = html! { i class=(hue) {} (answer.code) };
    let cells = [
        status,
        figures::count(answer.count),
        format!("{share:.1} %"),
    ];
    row(&name, &cells)
}

pub(super) fn latencies(run: &Run) -> Markup {
    let columns = [
        "ms from the intended start",
        "count",
        "p50",
        "p95",
        "p99",
        "max",
    ];
    let parts = latency::parts(&run.latency);
    let rows = html! {
        @for (name, class, latency) in &parts {
            (row(&html! { i class=(class) {} (name) }, &[
                figures::count(latency.count),
                figures::decimal(latency.p50_ms),
                figures::decimal(latency.p95_ms),
                figures::decimal(latency.p99_ms),
                figures::decimal(latency.max_ms),
            ]))
        }
    };
    html! {
        @if !parts.is_empty() {
            h4 { "Latency" }
            (table("Latency", &columns, &rows))
        }
    }
}

/// Lock, batches, client, and the figures that only this scenario has.
pub(super) fn machinery(run: &Run) -> Markup {
    const TITLE: &str = "Lock, batches, client";
    let mut rows: Vec<(&str, String)> = Vec::new();
    if run.lock.known {
        rows.extend([
            ("lock acquired", figures::count(run.lock.acquired)),
            ("lock busy", figures::count(run.lock.busy)),
            ("no quorum", figures::count(run.lock.no_quorum)),
            ("lock errors", figures::count(run.lock.error)),
            ("lock lost", figures::count(run.lock.lost)),
            ("fence rejected", figures::count(run.lock.fence_rejected)),
            ("lock passed by", figures::count(run.lock.bypassed)),
        ]);
    } else {
        let unknown = "unknown: the service's metrics could not be read";
        rows.push(("lock", unknown.to_owned()));
    }
    if run.batches.count > 0 {
        let (mean, p50, p99) = (run.batches.mean, run.batches.p50, run.batches.p99);
        let sizes = [mean, p50, p99].map(figures::decimal).join(" / ");
        rows.push(("batches", figures::count(run.batches.count)));
        rows.push(("orders per batch: mean / p50 / p99", sizes));
    }
    let cores = format!("{} cores", figures::decimal(run.client.cores));
    let late = figures::time(run.client.late_p99_ms);
    rows.extend([("client's CPU", cores), ("requests sent late (p99)", late)]);
    let figures = run.figures.iter();
    rows.extend(figures.map(|(name, value)| (name.as_str(), value.clone())));
    let rows = html! {
        @for (name, value) in &rows {
            (row(&html! { (name) }, slice::from_ref(value)))
        }
    };
    html! {
        h4 { (TITLE) }
        (table(TITLE, &["figure", "value"], &rows))
    }
}

pub(super) fn checks(checks: &[Check]) -> Markup {
    // Broken checks first: a reader of a failed run looks for them.
    let broken = checks.iter().filter(|check| !check.held);
    let held = checks.iter().filter(|check| check.held);
    html! {
        h4 { "What was checked" }
        @if checks.is_empty() {
            p.nothing { "Nothing." }
        } @else {
            ul.checks { @for check in broken.chain(held) { (check_item(check)) } }
        }
    }
}

fn check_item(check: &Check) -> Markup {
    let class = if check.held { "held" } else { "broken" };
    html! {
        li class=(class) {
            (mark(check.held))
            div {
                b { (check.promise) } " " span { (check.detail) }
                @if !check.breaches.is_empty() {
                    ul { @for breach in &check.breaches { li { (breach) } } }
                }
            }
        }
    }
}
