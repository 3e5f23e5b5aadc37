//! Layout of the live view: stock, answers, latency, lock, faults. On a small terminal the lower
//! parts are cut first.

use ratatui::{
    Frame,
    layout::{Constraint, Layout, Rect},
    style::{Color, Modifier, Style},
    text::{Line, Span},
    widgets::{Block, BorderType, Gauge, List, Paragraph, Row, Table},
};

use super::{
    super::{codes::CodeClass, figures},
    Snapshot, Tally,
    chart::{self, Stack},
};

pub(super) fn draw(frame: &mut Frame<'_>, snapshot: &Snapshot) {
    let [head, stock, answers, lower] = Layout::vertical([
        Constraint::Length(3),
        Constraint::Length(3),
        Constraint::Fill(3),
        Constraint::Fill(2),
    ])
    .areas(frame.area());
    draw_head(frame, head, snapshot);
    draw_stock(frame, stock, snapshot);
    let [over_time, by_code] = beside(answers);
    let tallies = ordered(&snapshot.answers);
    draw_answers(frame, over_time, snapshot);
    draw_codes(frame, by_code, &tallies);
    let [latency, right] = beside(lower);
    let inside = panel(frame, latency, &latency_title(snapshot));
    chart::draw_latency(frame, inside, &snapshot.history);
    let [lock, faults] =
        Layout::vertical([Constraint::Length(6), Constraint::Fill(1)]).areas(right);
    draw_lock(frame, lock, snapshot);
    draw_faults(frame, faults, snapshot);
}

fn beside(area: Rect) -> [Rect; 2] {
    Layout::horizontal([Constraint::Fill(1), Constraint::Length(40)]).areas(area)
}

/// Draws a frame with a title and returns the area inside.
fn panel(frame: &mut Frame<'_>, area: Rect, title: &str) -> Rect {
    let block = Block::bordered()
        .border_type(BorderType::Rounded)
        .border_style(faint())
        .title(Span::styled(format!(" {title} "), bold()));
    let inside = block.inner(area);
    frame.render_widget(block, area);
    inside
}

fn bold() -> Style {
    Style::new().fg(Color::Reset).add_modifier(Modifier::BOLD)
}

fn faint() -> Style {
    Style::new().fg(Color::DarkGray)
}

fn draw_head(frame: &mut Frame<'_>, area: Rect, snapshot: &Snapshot) {
    let mut title = vec![Span::styled(
        format!(" {}", snapshot.scenario),
        bold().fg(Color::Cyan),
    )];
    if !snapshot.variant.is_empty() {
        title.push(Span::raw(format!(" · {}", snapshot.variant)));
    }
    title.push(Span::styled(format!("  {}", snapshot.step), faint()));
    let elapsed = snapshot.elapsed.as_secs_f64();
    let clock = match snapshot.planned {
        Some(planned) => format!("{elapsed:.1} of {:.1} s ", planned.as_secs_f64()),
        None => format!("{elapsed:.1} s "),
    };
    let lines = vec![
        Line::from(title),
        Line::from(format!(" {}", snapshot.question)),
        Line::styled(
            format!(
                " {} users · {} requests sent · {}",
                figures::count(snapshot.users),
                figures::count(snapshot.offered),
                snapshot.service
            ),
            faint(),
        ),
    ];
    frame.render_widget(Paragraph::new(lines), area);
    frame.render_widget(
        Paragraph::new(clock).right_aligned().style(bold()),
        Rect {
            height: 1.min(area.height),
            ..area
        },
    );
}

fn draw_stock(frame: &mut Frame<'_>, area: Rect, snapshot: &Snapshot) {
    let inside = panel(frame, area, "stock");
    let total = figures::count(snapshot.stock_total);
    let Some(stock) = snapshot.stock else {
        frame.render_widget(
            Paragraph::new(format!("unknown, of {total}")).centered(),
            inside,
        );
        return;
    };
    let left = figures::float(u64::try_from(stock).unwrap_or_default());
    let ratio = (left / figures::float(snapshot.stock_total.max(1))).clamp(0.0, 1.0);
    let colour = match stock {
        ..0 => Color::Red,
        0 => Color::DarkGray,
        _ if ratio < 0.2 => Color::Yellow,
        _ => Color::Green,
    };
    let label = match stock {
        ..0 => format!("{stock} of {total}: oversold"),
        0 => format!("sold out: 0 of {total} left"),
        _ => format!("{} of {total} left", figures::count(stock.unsigned_abs())),
    };
    let gauge = Gauge::default()
        .ratio(ratio)
        .label(Span::styled(label, bold()))
        .use_unicode(true)
        .gauge_style(Style::new().fg(colour));
    frame.render_widget(gauge, inside);
}

/// From the best class of answer to the worst, as on the page.
fn ordered(tallies: &[Tally]) -> Vec<&Tally> {
    let mut tallies: Vec<_> = tallies.iter().filter(|tally| tally.total > 0).collect();
    tallies.sort_by_key(|tally| (CodeClass::of(&tally.code), std::cmp::Reverse(tally.total)));
    tallies
}

fn draw_answers(frame: &mut Frame<'_>, area: Rect, snapshot: &Snapshot) {
    let last_second = snapshot
        .answers
        .iter()
        .fold(0, |sum: u64, tally| sum.saturating_add(tally.last_second));
    let title = format!("answers/s: {}", figures::count(last_second));
    let inside = panel(frame, area, &title);
    frame.render_widget(Stack::of(&snapshot.history), inside);
}

fn draw_codes(frame: &mut Frame<'_>, area: Rect, tallies: &[&Tally]) {
    let inside = panel(frame, area, "answers by code");
    let head = Row::new([
        Line::from(""),
        Line::from("code"),
        Line::from("last s").right_aligned(),
        Line::from("total").right_aligned(),
    ])
    .style(faint());
    let rows = tallies.iter().map(|tally| {
        Row::new([
            Line::styled("■", Style::new().fg(chart::colour(&tally.code))),
            Line::from(tally.code.as_str()),
            Line::from(figures::count(tally.last_second)).right_aligned(),
            Line::styled(figures::count(tally.total), bold()).right_aligned(),
        ])
    });
    let widths = [
        Constraint::Length(1),
        Constraint::Fill(1),
        Constraint::Length(8),
        Constraint::Length(10),
    ];
    frame.render_widget(Table::new(rows, widths).header(head), inside);
}

fn latency_title(snapshot: &Snapshot) -> String {
    match snapshot.p50_ms.zip(snapshot.p99_ms) {
        Some((p50, p99)) => format!(
            "latency of orders: p50 {}, p99 {}",
            figures::time(p50),
            figures::time(p99)
        ),
        None => "latency of orders".to_owned(),
    }
}

fn draw_lock(frame: &mut Frame<'_>, area: Rect, snapshot: &Snapshot) {
    let inside = panel(frame, area, "lock");
    let lock = &snapshot.lock;
    if !lock.known {
        frame.render_widget(Paragraph::new("unknown").style(faint()), inside);
        return;
    }
    let state = if lock.degraded {
        Span::styled("● degraded: only the fence protects", bold().fg(Color::Red))
    } else if lock.nodes_total == 0 {
        Span::styled("● in-process", Style::new().fg(Color::Green))
    } else {
        let nodes = format!(
            "● healthy: {} of {} links to lock nodes",
            lock.nodes_healthy, lock.nodes_total
        );
        let colour = if lock.nodes_healthy < lock.nodes_total {
            Color::Yellow
        } else {
            Color::Green
        };
        Span::styled(nodes, Style::new().fg(colour))
    };
    let pair = |one: &str, first: u64, other: &str, second: u64| {
        let figures = [first, second].map(figures::count);
        Line::from(format!(
            "{one:<9}{:>8}   {other:<7}{:>8}",
            figures[0], figures[1]
        ))
    };
    let lines = vec![
        Line::from(state),
        pair("acquired", lock.acquired, "busy", lock.busy),
        pair("fenced", lock.fence_rejected, "lost", lock.lost),
    ];
    frame.render_widget(Paragraph::new(lines), inside);
}

/// The latest fault comes first.
fn draw_faults(frame: &mut Frame<'_>, area: Rect, snapshot: &Snapshot) {
    let inside = panel(frame, area, "faults");
    if snapshot.faults.is_empty() {
        frame.render_widget(Paragraph::new("none so far").style(faint()), inside);
        return;
    }
    let line = |fault: &super::Fault| {
        let at = Span::styled(
            format!("{:>6.1} s ", fault.at_ms / 1_000.0),
            Style::new().fg(Color::Red),
        );
        Line::from(vec![at, Span::raw(fault.what.clone())])
    };
    frame.render_widget(List::new(snapshot.faults.iter().rev().map(line)), inside);
}

#[cfg(test)]
mod tests;
