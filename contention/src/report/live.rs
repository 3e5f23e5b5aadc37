//! Live view: shows a run in progress on the full terminal.
//!
//! The terminal is restored when the [`Screen`] is dropped and on a panic; a program that ends on
//! Ctrl-C must therefore return and not exit. Raw mode stays off, so that Ctrl-C remains a signal.

use std::{
    io::{self, Stdout},
    panic,
    sync::Once,
    time::Duration,
};

use ratatui::{
    Terminal,
    backend::CrosstermBackend,
    crossterm::{
        cursor, execute,
        terminal::{EnterAlternateScreen, LeaveAlternateScreen},
    },
};

use super::{Fault, Slice};

/// The state of a run at one moment.
#[derive(Clone, Debug, Default)]
pub(crate) struct Snapshot {
    pub(crate) scenario: String,
    /// As in [`super::Run`].
    pub(crate) variant: String,
    pub(crate) question: String,
    /// `1 node · sqlite · redlock over 3 nodes`.
    pub(crate) service: String,
    /// What the runner is doing: `selling`, `checking`.
    pub(crate) step: String,
    pub(crate) users: u64,
    /// Since the first request.
    pub(crate) elapsed: Duration,
    /// Length of the load; `None` if it ends with the last answer.
    pub(crate) planned: Option<Duration>,
    /// Units left; `None` if unknown.
    pub(crate) stock: Option<i64>,
    pub(crate) stock_total: u64,
    /// Requests sent so far.
    pub(crate) offered: u64,
    /// In any order.
    pub(crate) answers: Vec<Tally>,
    /// Of the order requests answered in the last second.
    pub(crate) p50_ms: Option<f64>,
    pub(crate) p99_ms: Option<f64>,
    pub(crate) lock: LockState,
    pub(crate) faults: Vec<Fault>,
    /// The run so far in steps of [`HISTORY_STEP`], oldest first. The view shows the last ones, one
    /// per column of the terminal, so the last minute is enough.
    pub(crate) history: Vec<Slice>,
}

pub(crate) const HISTORY_STEP: Duration = Duration::from_millis(100);

/// How often a code was answered; codes as in [`super::Answers`].
#[derive(Clone, Debug)]
pub(crate) struct Tally {
    pub(crate) code: String,
    pub(crate) total: u64,
    pub(crate) last_second: u64,
}

/// The lock's last metrics, summed over the nodes and counted from the start of the run.
#[derive(Clone, Debug, Default)]
pub(crate) struct LockState {
    /// False if the nodes' metrics cannot be read.
    pub(crate) known: bool,
    pub(crate) acquired: u64,
    pub(crate) busy: u64,
    pub(crate) lost: u64,
    pub(crate) fence_rejected: u64,
    /// Whether any node works without a majority of lock nodes.
    pub(crate) degraded: bool,
    /// Lock nodes that answer, summed over the nodes of the service.
    pub(crate) nodes_healthy: u64,
    pub(crate) nodes_total: u64,
}

/// The terminal in full-screen mode.
#[derive(Debug)]
pub(crate) struct Screen {
    terminal: Terminal<CrosstermBackend<Stdout>>,
}

impl Screen {
    pub(crate) fn open() -> io::Result<Self> {
        restore_on_panic();
        let terminal = Terminal::new(CrosstermBackend::new(io::stdout()))?;
        execute!(io::stdout(), EnterAlternateScreen, cursor::Hide)?;
        let mut screen = Self { terminal };
        screen.terminal.clear()?;
        Ok(screen)
    }

    /// Shows a snapshot; to be called about ten times a second.
    pub(crate) fn draw(&mut self, snapshot: &Snapshot) -> io::Result<()> {
        self.terminal.draw(|frame| view::draw(frame, snapshot))?;
        Ok(())
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        restore();
    }
}

fn restore() {
    drop(execute!(io::stdout(), LeaveAlternateScreen, cursor::Show));
}

/// A panic message on the alternate screen would be lost.
fn restore_on_panic() {
    static HOOK: Once = Once::new();
    HOOK.call_once(|| {
        let before = panic::take_hook();
        panic::set_hook(Box::new(move |panic| {
            restore();
            before(panic);
        }));
    });
}

mod chart;
mod view;
