//! Lays the snapshot out on the terminal.

use ratatui::{Frame, widgets::Paragraph};

use super::Snapshot;

pub(super) fn draw(frame: &mut Frame<'_>, snapshot: &Snapshot) {
    frame.render_widget(Paragraph::new(snapshot.question.as_str()), frame.area());
}
