//! The parts of the page that are words and numbers: tiles, tables, lists.

use super::{
    super::{Answers, Check, Run, codes, figures},
    colour, latency, mark,
    text::{escaped, joined},
};

/// A figure to see from afar. `class` says whether it is good, bad or neither.
pub(super) fn tile(figure: &str, name: &str, class: &str) -> String {
    format!(
        r#"<div class="tile {class}"><strong>{}</strong><span>{}</span></div>"#,
        escaped(figure),
        escaped(name)
    )
}

/// `rows` is markup; a wide table scrolls by itself, so the page never has to.
pub(super) fn table(name: &str, columns: &[&str], rows: &str) -> String {
    let columns = joined(
        columns
            .iter()
            .map(|column| format!(r#"<th scope="col">{column}</th>"#)),
    );
    format!(
        r#"<div class="scroll" role="region" aria-label="{}" tabindex="0"><table><thead><tr>{columns}</tr></thead><tbody>{rows}</tbody></table></div>"#,
        escaped(name)
    )
}

/// `name` is markup, the cells are text.
pub(super) fn row(name: &str, cells: &[String]) -> String {
    let cells = joined(
        cells
            .iter()
            .map(|cell| format!("<td>{}</td>", escaped(cell))),
    );
    format!(r#"<tr><th scope="row">{name}</th>{cells}</tr>"#)
}

pub(super) fn answers(answers: &[Answers]) -> String {
    let ordered = codes::ordered(answers);
    if ordered.is_empty() {
        return "<h4>Answers</h4><p class=\"nothing\">Nothing was answered.</p>".to_owned();
    }
    let total = ordered
        .iter()
        .fold(0, |sum: u64, answer| sum.saturating_add(answer.count));
    let rows = joined(ordered.iter().map(|answer| answer_row(answer, total)));
    "<h4>Answers</h4>".to_owned()
        + &table(
            "Answers by code",
            &["code", "status", "count", "share"],
            &rows,
        )
}

fn answer_row(answer: &Answers, total: u64) -> String {
    let hue = colour::hue(codes::CodeClass::of(&answer.code));
    let status = match answer.status {
        0 => figures::NONE.to_owned(),
        status => status.to_string(),
    };
    let share = 100.0 * figures::float(answer.count) / figures::float(total.max(1));
    let name = format!(r#"<i class="{hue}"></i>{}"#, escaped(&answer.code));
    row(
        &name,
        &[
            status,
            figures::count(answer.count),
            format!("{share:.1} %"),
        ],
    )
}

pub(super) fn latencies(run: &Run) -> String {
    let rows: String = latency::parts(&run.latency)
        .into_iter()
        .map(|(name, class, latency)| {
            let times = [
                latency.p50_ms,
                latency.p95_ms,
                latency.p99_ms,
                latency.max_ms,
            ];
            let mut cells = vec![figures::count(latency.count)];
            cells.extend(times.map(figures::decimal));
            row(&format!(r#"<i class="{class}"></i>{name}"#), &cells)
        })
        .collect();
    if rows.is_empty() {
        return String::new();
    }
    let columns = [
        "ms from the intended start",
        "count",
        "p50",
        "p95",
        "p99",
        "max",
    ];
    "<h4>Latency</h4>".to_owned() + &table("Latency", &columns, &rows)
}

/// What the lock, the batches and the client did; and the figures that only this scenario has.
pub(super) fn machinery(run: &Run) -> String {
    let mut rows = String::new();
    let mut say = |name: &str, value: String| rows += &row(&escaped(name), &[value]);
    if run.lock.known {
        say("lock acquired", figures::count(run.lock.acquired));
        say("lock busy", figures::count(run.lock.busy));
        say("no quorum", figures::count(run.lock.no_quorum));
        say("lock errors", figures::count(run.lock.error));
        say("lock lost", figures::count(run.lock.lost));
        say("fence rejected", figures::count(run.lock.fence_rejected));
    } else {
        say(
            "lock",
            "not known: the service's figures could not be read".to_owned(),
        );
    }
    if run.batches.count > 0 {
        say("batches", figures::count(run.batches.count));
        let (mean, p50, p99) = (run.batches.mean, run.batches.p50, run.batches.p99);
        let sizes = [mean, p50, p99].map(figures::decimal);
        say("orders per batch: mean / p50 / p99", sizes.join(" / "));
    }
    say(
        "client's CPU",
        format!("{} cores", figures::decimal(run.client.cores)),
    );
    say(
        "requests left late (p99)",
        figures::time(run.client.late_p99_ms),
    );
    for (name, value) in &run.figures {
        say(name, value.clone());
    }
    "<h4>Lock, batches, client</h4>".to_owned()
        + &table("Lock, batches, client", &["figure", "value"], &rows)
}

pub(super) fn checks(checks: &[Check]) -> String {
    if checks.is_empty() {
        return "<h4>What was checked</h4><p class=\"nothing\">Nothing.</p>".to_owned();
    }
    // Who opens the page after a breach looks for the breach.
    let broken = checks.iter().filter(|check| !check.held);
    let held = checks.iter().filter(|check| check.held);
    let items = joined(broken.chain(held).map(check_item));
    format!(r#"<h4>What was checked</h4><ul class="checks">{items}</ul>"#)
}

fn check_item(check: &Check) -> String {
    let breaches = joined(
        check
            .breaches
            .iter()
            .map(|breach| format!("<li>{}</li>", escaped(breach))),
    );
    let breaches = if breaches.is_empty() {
        breaches
    } else {
        format!("<ul>{breaches}</ul>")
    };
    format!(
        r#"<li class="{}">{}<div><b>{}</b> <span>{}</span>{breaches}</div></li>"#,
        if check.held { "held" } else { "broken" },
        mark(check.held),
        escaped(&check.promise),
        escaped(&check.detail)
    )
}
