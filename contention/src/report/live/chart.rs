//! The two charts of the live view: answers and latency.
//!
//! Both show the last steps of the history, one per column.

use ratatui::{
    Frame,
    buffer::Buffer,
    layout::Rect,
    style::{Color, Style},
    symbols::Marker,
    text::Line,
    widgets::{Axis, Chart, Dataset, GraphType, Widget},
};

use super::super::{Slice, codes, codes::CodeClass, figures};

/// Fill levels of a cell.
const EIGHTHS: [&str; 9] = [" ", "▁", "▂", "▃", "▄", "▅", "▆", "▇", "█"];

/// The colour of a code's class, the same everywhere.
pub(super) fn colour(code: &str) -> Color {
    match CodeClass::of(code) {
        CodeClass::Won => Color::Green,
        CodeClass::Waiting => Color::Blue,
        CodeClass::Served => Color::Cyan,
        CodeClass::Refused => Color::Gray,
        CodeClass::Pressed => Color::Yellow,
        CodeClass::Failed => Color::Red,
    }
}

/// Answers in each step, stacked by class.
#[derive(Debug)]
pub(super) struct Stack<'a> {
    history: &'a [Slice],
}

impl<'a> Stack<'a> {
    pub(super) fn of(history: &'a [Slice]) -> Self {
        Self { history }
    }
}

fn last(history: &[Slice], most: u16) -> &[Slice] {
    let from = history.len().saturating_sub(usize::from(most));
    history.get(from..).unwrap_or_default()
}

fn total(slice: &Slice) -> u64 {
    slice
        .answers
        .values()
        .fold(0, |sum: u64, count| sum.saturating_add(*count))
}

impl Widget for Stack<'_> {
    fn render(self, area: Rect, buffer: &mut Buffer) {
        let shown = last(self.history, area.width);
        let most = shown.iter().map(total).max().unwrap_or_default();
        if most == 0 || area.is_empty() {
            return;
        }
        let order = codes::of_timeline(shown);
        for (slice, x) in shown.iter().zip(area.left()..area.right()) {
            let mut below = 0;
            let mut ends = Vec::with_capacity(order.len());
            for (code, _) in &order {
                below += slice.answers.get(code).copied().unwrap_or_default();
                ends.push((eighths(below, most, area.height), colour(code)));
            }
            draw_bar(buffer, area, x, &ends);
        }
        let peak = format!("peak {}/s", figures::count(most.saturating_mul(10)));
        let width = u16::try_from(peak.len()).unwrap_or(u16::MAX);
        if area.width > width && area.height > 2 {
            let style = Style::new().fg(Color::DarkGray);
            buffer.set_string(area.right() - width, area.top(), peak, style);
        }
    }
}

/// The height of `part` if `whole` fills all rows, in eighths of a row; at least 1 unless `part`
/// is 0.
fn eighths(part: u64, whole: u64, rows: u16) -> u64 {
    let exact = u128::from(part) * u128::from(rows) * 8 / u128::from(whole.max(1));
    let height = u64::try_from(exact).unwrap_or(u64::MAX);
    if part > 0 { height.max(1) } else { 0 }
}

/// A cell has two colours at most: the lower one as a block, the upper one as the background.
fn draw_bar(buffer: &mut Buffer, area: Rect, x: u16, ends: &[(u64, Color)]) {
    for (row, y) in (0_u64..).zip((area.top()..area.bottom()).rev()) {
        let floor = row * 8;
        let mut above = ends.iter().filter(|(end, _)| *end > floor);
        let Some((end, lower)) = above.next() else {
            return;
        };
        let filled = usize::try_from(end - floor).unwrap_or(8).min(8);
        let mut style = Style::new().fg(*lower);
        if filled < 8
            && let Some((_, upper)) = above.find(|(next, _)| next > end)
        {
            style = style.bg(*upper);
        }
        let symbol = EIGHTHS.get(filled).copied().unwrap_or("█");
        buffer.set_string(x, y, symbol, style);
    }
}

/// p50 and p99 of each step.
pub(super) fn draw_latency(frame: &mut Frame<'_>, area: Rect, history: &[Slice]) {
    let shown = last(history, area.width);
    let points = |figure: fn(&Slice) -> Option<f64>| -> Vec<(f64, f64)> {
        let numbered = (0_u32..).zip(shown);
        numbered
            .filter_map(|(number, slice)| {
                Some((
                    f64::from(number),
                    figure(slice).filter(|value| value.is_finite())?,
                ))
            })
            .collect()
    };
    let (p50, p99) = (points(|slice| slice.p50_ms), points(|slice| slice.p99_ms));
    let most = p50
        .iter()
        .chain(&p99)
        .map(|(_, value)| *value)
        .fold(0.0, f64::max);
    if most <= 0.0 || area.height < 3 {
        return;
    }
    let line = |name: &'static str, colour, data| {
        Dataset::default()
            .name(name)
            .marker(Marker::Braille)
            .graph_type(GraphType::Line)
            .style(Style::new().fg(colour))
            .data(data)
    };
    let faint = Style::new().fg(Color::DarkGray);
    let labels = [0.0, most / 2.0, most].map(|value| Line::from(figures::time(value)));
    let chart = Chart::new(vec![
        line("p99", Color::Magenta, &p99),
        line("p50", Color::Cyan, &p50),
    ])
    .x_axis(
        Axis::default()
            .bounds([0.0, f64::from(area.width)])
            .style(faint),
    )
    .y_axis(
        Axis::default()
            .bounds([0.0, most])
            .labels(labels)
            .style(faint),
    );
    frame.render_widget(chart, area);
}
