//! Where log lines go: standard error, which never makes a request wait.
//!
//! A line is written at once where that needs no wait. If nobody reads the pipe and it is full, lines
//! go to a backlog, which a thread writes; those that do not fit are dropped and counted.

use std::{
    io::{self, Stderr, Write},
    os::fd::AsFd,
    sync::LazyLock,
    time::{Duration, Instant},
};

use nix::{
    errno::Errno,
    libc,
    poll::{PollFd, PollFlags, PollTimeout, poll},
};
use parking_lot::{Condvar, Mutex, MutexGuard};

use crate::metrics;

/// Bytes of the lines that wait; as many again are on their way to the reader.
const BACKLOG_MAX: usize = 1024 * 1024;
/// A process that ends waits so long for who reads its last lines.
pub const LAST_WITHIN: Duration = Duration::from_millis(500);
/// A pipe with room takes so many bytes without a wait.
const READY_BYTES: usize = libc::PIPE_BUF;

static STDERR: LazyLock<Output<Stderr>> = LazyLock::new(|| Output::new(io::stderr()));

/// Starts the thread that writes what waits.
pub(super) fn start() -> io::Result<()> {
    let thread = std::thread::Builder::new().name("log".to_owned());
    thread.spawn(|| STDERR.run()).map(drop)
}

/// Waits until everything is written; false if it is not by then.
pub fn flush(within: Duration) -> bool {
    STDERR.flush(within)
}

/// Writes whole lines to standard error; each call is one line.
#[derive(Clone, Copy, Debug)]
pub struct Lines;

impl Write for Lines {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        STDERR.write(line);
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[derive(Debug)]
struct Output<T> {
    target: T,
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    /// Lines that wait. Further ones wait behind them, so that their order stays.
    backlog: Vec<u8>,
    /// The thread writes an earlier backlog.
    is_writing: bool,
    /// Lines that were dropped since the log said so.
    dropped: u64,
}

impl State {
    fn is_behind(&self) -> bool {
        self.is_writing || !self.backlog.is_empty()
    }
}

impl<T: AsFd> Output<T>
where
    for<'a> &'a T: Write,
{
    fn new(target: T) -> Self {
        Self {
            target,
            state: Mutex::default(),
            changed: Condvar::new(),
        }
    }

    fn write(&self, line: &[u8]) {
        let mut state = self.state.lock();
        let rest = if state.is_behind() {
            line
        } else {
            self.write_ready(line)
        };
        // The rest of a line that has begun always follows.
        let is_whole = rest.len() == line.len();
        if is_whole && state.backlog.len() + rest.len() > BACKLOG_MAX {
            state.dropped += 1;
            metrics::instance::log_line_dropped();
        } else if !rest.is_empty() {
            state.backlog.extend_from_slice(rest);
            self.changed.notify_all();
        }
    }

    /// Writes as much as needs no wait, and returns the rest.
    fn write_ready<'a>(&self, line: &'a [u8]) -> &'a [u8] {
        let mut rest = line;
        while !rest.is_empty() && self.is_ready(PollTimeout::ZERO) {
            match self.write_part(rest) {
                Some(after) => rest = after,
                None => return &[],
            }
        }
        rest
    }

    /// Whether a write needs no wait. One that is going to fail needs none.
    fn is_ready(&self, within: PollTimeout) -> bool {
        let mut target = [PollFd::new(self.target.as_fd(), PollFlags::POLLOUT)];
        match poll(&mut target, within) {
            Ok(ready) => ready > 0,
            Err(error) => error != Errno::EINTR,
        }
    }

    /// Writes a part, and returns the rest; `None` when nobody reads any more, who could be told.
    fn write_part<'a>(&self, text: &'a [u8]) -> Option<&'a [u8]> {
        let part = text.get(..READY_BYTES).unwrap_or(text);
        match (&self.target).write(part) {
            Ok(0) => None,
            Ok(written) => text.get(written..),
            Err(error) => {
                use io::ErrorKind::{Interrupted, WouldBlock};
                matches!(error.kind(), Interrupted | WouldBlock).then_some(text)
            }
        }
    }

    /// Writes what waits, for ever.
    fn run(&self) {
        let mut state = self.state.lock();
        loop {
            while state.backlog.is_empty() {
                self.changed.wait(&mut state);
            }
            let text = std::mem::take(&mut state.backlog);
            state.is_writing = true;
            MutexGuard::unlocked(&mut state, || self.write_waiting(&text));
            state.is_writing = false;
            self.changed.notify_all();
            let dropped = std::mem::take(&mut state.dropped);
            if dropped > 0 {
                MutexGuard::unlocked(&mut state, || {
                    tracing::warn!(
                        dropped,
                        "{dropped} log lines are lost: standard error was not read in time"
                    );
                });
            }
        }
    }

    fn write_waiting(&self, text: &[u8]) {
        let mut rest = text;
        while !rest.is_empty() {
            if !self.is_ready(PollTimeout::NONE) {
                continue;
            }
            match self.write_part(rest) {
                Some(after) => rest = after,
                None => return,
            }
        }
    }

    fn flush(&self, within: Duration) -> bool {
        let deadline = Instant::now() + within;
        let mut state = self.state.lock();
        while state.is_behind() {
            if self.changed.wait_until(&mut state, deadline).timed_out() {
                return !state.is_behind();
            }
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use std::{io::Read, sync::Arc};

    use super::*;

    /// Longer than a pipe and its backlog take.
    const LINES: usize = 40_000;

    #[test]
    fn a_pipe_that_nobody_reads_takes_a_bounded_number_of_whole_lines() {
        let (mut reader, writer) = io::pipe().unwrap();
        let output = Arc::new(Output::new(writer));
        let writing = Arc::clone(&output);
        std::thread::spawn(move || writing.run());
        let line = |number: usize| format!("{number:06} {}\n", "x".repeat(number % 300));
        for number in 0..LINES {
            output.write(line(number).as_bytes());
        }
        assert!(!output.flush(Duration::from_millis(1)));
        let dropped = usize::try_from(output.state.lock().dropped).unwrap();
        assert!(dropped > 0 && dropped < LINES, "{dropped}");

        let reading = std::thread::spawn(move || {
            let (mut text, mut part) = (Vec::new(), [0; 4096]);
            while !text.ends_with(b"the end\n") {
                let length = reader.read(&mut part).unwrap();
                text.extend_from_slice(&part[..length]);
            }
            String::from_utf8(text).unwrap()
        });
        // Lines go on while the thread writes the earlier ones.
        for number in LINES..2 * LINES {
            output.write(line(number).as_bytes());
        }
        assert!(output.flush(Duration::from_mins(1)));
        output.write(b"the end\n");
        let text = reading.join().unwrap();
        let mut lines: Vec<_> = text.split_inclusive('\n').collect();
        assert_eq!(lines.pop(), Some("the end\n"));
        let mut numbers = Vec::new();
        for written in lines {
            let number: usize = written[..6].parse().unwrap();
            assert_eq!(written, line(number));
            numbers.push(number);
        }
        assert!(numbers.is_sorted_by(|earlier, later| earlier < later));
        let early = numbers.iter().filter(|number| **number < LINES);
        assert_eq!(early.count(), LINES - dropped);
    }
}
