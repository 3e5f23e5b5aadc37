//! The report as a text table of 100 columns, for a terminal or a file.
//!
//! Each run has three lines, because one line would be too wide: answers, units and lock, latency.

use std::{
    io::{self, IsTerminal, Write},
    iter,
};

use ratatui::crossterm::style::Colored;

use super::{Check, Latency, Report, Run, codes, figures};

const WIDTH: usize = 100;
/// Width of the first column, the name of the line.
const FIRST: usize = 18;
/// Widths of the columns with numbers; with the first they add up to `WIDTH`.
const COLUMNS: [usize; 10] = [9, 8, 8, 9, 9, 9, 8, 7, 7, 8];

const UNITS: [&str; 10] = [
    "offered", "sold", "unsold", "oversold", "out, ms", "acquired", "busy", "lost", "fence",
    "batches",
];
const TIMES: [&str; 10] = [
    "won p50", "p95", "p99", "max", "no p50", "p95", "p99", "max", "size", "p99",
];

/// Plain text, or text with ANSI colours.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Style {
    Plain,
    Coloured,
}

impl Style {
    /// Colours on a terminal, unless `NO_COLOR` is set.
    pub(crate) fn of(out: &impl IsTerminal) -> Self {
        if out.is_terminal() && !Colored::ansi_color_disabled_memoized() {
            Self::Coloured
        } else {
            Self::Plain
        }
    }

    fn paint(self, ink: Ink, text: &str) -> String {
        match self {
            Self::Plain => text.to_owned(),
            Self::Coloured => format!("\x1b[{}m{text}\x1b[0m", ink.code()),
        }
    }
}

#[derive(Clone, Copy)]
enum Ink {
    Good,
    Bad,
    Warning,
    Name,
    Faint,
}

impl Ink {
    fn code(self) -> &'static str {
        match self {
            Self::Good => "32",
            Self::Bad => "1;31",
            Self::Warning => "33",
            Self::Name => "1",
            Self::Faint => "2",
        }
    }
}

/// Writes a block for each run, then the comparisons and the result.
pub(crate) fn write(out: &mut impl Write, report: &Report, style: Style) -> io::Result<()> {
    let faint = |text: &str| style.paint(Ink::Faint, text);
    writeln!(out, "{}", faint("result  scenario: answers by code"))?;
    writeln!(out, "{}", faint(&row("  units and lock", &UNITS)))?;
    writeln!(out, "{}", faint(&row("  ms; orders/batch", &TIMES)))?;
    for run in &report.runs {
        writeln!(out, "{}", faint(&"─".repeat(WIDTH)))?;
        write_run(out, run, style)?;
    }
    writeln!(out, "{}", faint(&"─".repeat(WIDTH)))?;
    for ratio in &report.ratios {
        writeln!(
            out,
            "{:>10} × {}",
            figures::decimal(ratio.value),
            ratio.what
        )?;
    }
    write_result(out, report, style)
}

fn write_result(out: &mut impl Write, report: &Report, style: Style) -> io::Result<()> {
    let checks = || report.runs.iter().flat_map(|run| &run.checks);
    let (checked, broken) = (
        checks().count(),
        checks().filter(|check| !check.held).count(),
    );
    let result = if report.held {
        style.paint(Ink::Good, "every promise held")
    } else {
        style.paint(Ink::Bad, &format!("BROKEN: {broken} of {checked} checks"))
    };
    let runs = report.runs.len();
    let noun = if runs == 1 { "run" } else { "runs" };
    writeln!(
        out,
        "{result} ({checked} checks, {runs} {noun}, {} s)",
        figures::decimal(report.seconds)
    )
}

fn write_run(out: &mut impl Write, run: &Run, style: Style) -> io::Result<()> {
    let held = run.checks.iter().all(|check| check.held);
    let result = if held {
        style.paint(Ink::Good, "held    ")
    } else {
        style.paint(Ink::Bad, "BROKEN  ")
    };
    let name = title(run);
    let taken = 8 + name.chars().count() + 2;
    let answers: Vec<_> = codes::ordered(&run.answers)
        .into_iter()
        .map(|answer| format!("{} {}", answer.code, figures::count(answer.count)))
        .collect();
    let mut lines = wrapped(&answers, WIDTH, taken).into_iter();
    let first = lines.next().unwrap_or_default();
    writeln!(out, "{result}{}: {first}", style.paint(Ink::Name, &name))?;
    for line in lines {
        writeln!(out, "        {line}")?;
    }
    writeln!(out, "{}", row("", &units(run)))?;
    writeln!(out, "{}", row("", &times(run)))?;
    write_notes(out, run, style)?;
    for check in run.checks.iter().filter(|check| !check.held) {
        write_breach(out, check, style)?;
    }
    Ok(())
}

fn title(run: &Run) -> String {
    if run.variant.is_empty() {
        run.scenario.clone()
    } else {
        format!("{} · {}", run.scenario, run.variant)
    }
}

fn units(run: &Run) -> [String; 10] {
    let lock = |figure| {
        if run.lock.known {
            figures::count(figure)
        } else {
            figures::NONE.to_owned()
        }
    };
    [
        figures::count(run.offered),
        figures::count(run.units.sold),
        figures::count(run.units.unsold),
        figures::count(run.units.oversold),
        run.sold_out_after_ms
            .map_or_else(|| figures::NONE.to_owned(), figures::decimal),
        lock(run.lock.acquired),
        lock(run.lock.busy),
        lock(run.lock.lost),
        lock(run.lock.fence_rejected),
        lock(run.batches.count),
    ]
}

fn times(run: &Run) -> [String; 10] {
    let known = |latency: &Latency, figure| match latency.count {
        0 => figures::NONE.to_owned(),
        _ => figures::decimal(figure),
    };
    let batch = |figure| match run.batches.count {
        0 => figures::NONE.to_owned(),
        _ => figures::decimal(figure),
    };
    let (won, lost) = (&run.latency.winners, &run.latency.refusals);
    [
        known(won, won.p50_ms),
        known(won, won.p95_ms),
        known(won, won.p99_ms),
        known(won, won.max_ms),
        known(lost, lost.p50_ms),
        known(lost, lost.p95_ms),
        known(lost, lost.p99_ms),
        known(lost, lost.max_ms),
        batch(run.batches.mean),
        batch(run.batches.p99),
    ]
}

/// The optional lines: faults, figures of the scenario, a client that was too slow.
fn write_notes(out: &mut impl Write, run: &Run, style: Style) -> io::Result<()> {
    for fault in &run.faults {
        writeln!(
            out,
            "        at {}: {}",
            figures::time(fault.at_ms),
            fault.what
        )?;
    }
    let noted: Vec<_> = run
        .figures
        .iter()
        .map(|(name, value)| format!("{name} {value}"))
        .collect();
    for line in wrapped(&noted, WIDTH, 8) {
        writeln!(out, "        {line}")?;
    }
    if run.client.bottleneck {
        let warning = format!(
            "the client was the limit: {} cores, requests were sent up to {} late (p99); the latencies are too high",
            figures::decimal(run.client.cores),
            figures::time(run.client.late_p99_ms)
        );
        writeln!(out, "        {}", style.paint(Ink::Warning, &warning))?;
    }
    Ok(())
}

fn write_breach(out: &mut impl Write, check: &Check, style: Style) -> io::Result<()> {
    let promise = style.paint(Ink::Bad, &check.promise);
    writeln!(out, "  ✗ {promise}: {}", check.detail)?;
    for breach in &check.breaches {
        writeln!(out, "      {breach}")?;
    }
    Ok(())
}

/// A line of the table. A number that is too wide moves its neighbours and is never cut.
fn row<Text: AsRef<str>>(first: &str, cells: &[Text; 10]) -> String {
    let mut line = format!("{first:<FIRST$}");
    let mut end = FIRST;
    for (cell, width) in cells.iter().zip(COLUMNS) {
        end += width;
        let used = line.chars().count();
        let room = end
            .saturating_sub(used)
            .max(cell.as_ref().chars().count() + 1);
        let text = cell.as_ref();
        line.extend(iter::repeat_n(' ', room - text.chars().count()));
        line.push_str(text);
    }
    line
}

/// Joins items to lines of at most `width`. The first line starts at `taken`, the others are
/// indented by eight. A longer item is not split.
fn wrapped(items: &[String], width: usize, taken: usize) -> Vec<String> {
    let mut lines = Vec::<String>::new();
    let mut used = taken;
    for item in items {
        let length = item.chars().count();
        match lines.last_mut() {
            Some(line) if used + 3 + length <= width => {
                line.push_str(" · ");
                line.push_str(item);
                used += 3 + length;
            }
            Some(_) => {
                lines.push(item.clone());
                used = 8 + length;
            }
            None => {
                lines.push(item.clone());
                used += length;
            }
        }
    }
    lines
}

#[cfg(test)]
mod tests;
