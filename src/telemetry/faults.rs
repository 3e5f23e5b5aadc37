//! The last warnings and errors of the log, for the live monitor: a bounded ring in memory.

use std::{collections::VecDeque, fmt};

use chrono::{DateTime, Utc};
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use tracing::{
    Event, Level, Subscriber,
    field::{Field, Visit},
};
use tracing_subscriber::{Layer, layer::Context};

use crate::domain::now;

/// Lines that are kept; older ones are in the log only.
pub const KEPT_MAX: usize = 50;
/// Characters of a line; the rest is in the log only.
const LINE_MAX: usize = 300;

static RING: Mutex<VecDeque<Fault>> = Mutex::new(VecDeque::new());

/// A line of the log.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fault {
    pub at: DateTime<Utc>,
    pub severe: bool,
    pub text: String,
}

/// The newest lines, up to `count`, newest first.
pub fn last(count: usize) -> Vec<Fault> {
    RING.lock().iter().rev().take(count).cloned().collect()
}

/// A log layer that keeps warnings and errors. They are rare: the lock is never on the way of an
/// order that succeeds.
#[derive(Clone, Copy, Debug)]
pub(super) struct Keep;

impl<S: Subscriber> Layer<S> for Keep {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        let level = *event.metadata().level();
        if level > Level::WARN {
            return;
        }
        let mut line = Message(String::new());
        event.record(&mut line);
        keep(Fault {
            at: now(),
            severe: level == Level::ERROR,
            text: line.0.chars().take(LINE_MAX).collect(),
        });
    }
}

fn keep(fault: Fault) {
    let mut ring = RING.lock();
    if ring.len() == KEPT_MAX {
        ring.pop_front();
    }
    ring.push_back(fault);
}

/// The sentence of a log line; its fields say the same for machines.
struct Message(String);

impl Visit for Message {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        if field.name() == "message" {
            self.0 = format!("{value:?}");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_ring_keeps_the_newest_lines() {
        for number in 0..2 * KEPT_MAX {
            keep(Fault {
                at: now(),
                severe: false,
                text: number.to_string(),
            });
        }
        let last = last(usize::MAX);
        assert_eq!(last.len(), KEPT_MAX);
        assert_eq!(last[0].text, (2 * KEPT_MAX - 1).to_string());
    }
}
