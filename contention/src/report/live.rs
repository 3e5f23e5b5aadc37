//! The run while it happens, on the whole terminal.
//!
//! The terminal is given back when the [`Screen`] is dropped and when anything panics; a program
//! that ends on Ctrl-C must therefore return and not exit. Raw mode stays off, so that Ctrl-C
//! remains a signal.

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

/// What is known of a run at one moment.
#[derive(Clone, Debug, Default)]
pub(crate) struct Snapshot {
    pub(crate) scenario: String,
    /// As in [`super::Run`]: empty when there is nothing to tell apart.
    pub(crate) variant: String,
    pub(crate) question: String,
    /// `1 node · sqlite · redlock over 3 nodes`.
    pub(crate) service: String,
    /// What the runner is doing: `selling`, `checking`.
    pub(crate) step: String,
    pub(crate) users: u64,
    /// Since the first request.
    pub(crate) elapsed: Duration,
    /// Of the load; none where it ends with the last answer.
    pub(crate) planned: Option<Duration>,
    /// Units left; none where it is unknown.
    pub(crate) stock: Option<i64>,
    pub(crate) stock_total: u64,
    /// Requests sent so far, answered or not.
    pub(crate) offered: u64,
    /// In any order.
    pub(crate) answers: Vec<Tally>,
    /// Of the order requests answered in the last second.
    pub(crate) p50_ms: Option<f64>,
    pub(crate) p99_ms: Option<f64>,
    pub(crate) lock: LockState,
    pub(crate) faults: Vec<Fault>,
    /// The run so far in steps of [`HISTORY_STEP`], oldest first. The view shows as many of the
    /// last as the terminal has columns, so the last minute is enough.
    pub(crate) history: Vec<Slice>,
}

pub(crate) const HISTORY_STEP: Duration = Duration::from_millis(100);

/// How often one kind of answer came; codes as in [`super::Answers`].
#[derive(Clone, Debug)]
pub(crate) struct Tally {
    pub(crate) code: String,
    pub(crate) total: u64,
    pub(crate) last_second: u64,
}

/// The lock as the nodes last reported it, summed over them and counted from the run's begin.
#[derive(Clone, Debug, Default)]
pub(crate) struct LockState {
    /// False where the nodes' figures cannot be read.
    pub(crate) known: bool,
    pub(crate) acquired: u64,
    pub(crate) busy: u64,
    pub(crate) lost: u64,
    pub(crate) fence_rejected: u64,
    /// Whether any node goes on without a majority of lock nodes.
    pub(crate) degraded: bool,
    /// Lock nodes that answer, counted by each node of the service.
    pub(crate) nodes_healthy: u64,
    pub(crate) nodes_total: u64,
}

/// The terminal, taken over.
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

    /// Shows a snapshot. Meant to be called about ten times a second.
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

/// A message printed on the alternate screen would vanish with it.
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
