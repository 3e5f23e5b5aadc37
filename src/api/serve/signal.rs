//! What a connection is told to do from outside its task.

use std::{
    sync::atomic::{AtomicU8, Ordering},
    task::Context,
};

use futures::task::AtomicWaker;

/// Of two signals the later one of these counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Signal {
    /// Give its buffers back until the next request.
    Park,
    /// Answer the current request, and close.
    Finish,
    /// Close at once.
    Close,
}

const NONE: u8 = 0;

impl Signal {
    const fn code(self) -> u8 {
        match self {
            Self::Park => 1,
            Self::Finish => 2,
            Self::Close => 3,
        }
    }
}

/// The signals to one connection.
#[derive(Debug, Default)]
pub(super) struct Signals {
    code: AtomicU8,
    receiver: AtomicWaker,
}

impl Signals {
    pub(super) fn send(&self, signal: Signal) {
        self.code.fetch_max(signal.code(), Ordering::AcqRel);
        self.receiver.wake();
    }

    /// The signal; the next one wakes the task.
    pub(super) fn watch(&self, context: &Context<'_>) -> Option<Signal> {
        self.receiver.register(context.waker());
        self.current()
    }

    /// The signal. A connection is told to park once; the others remain.
    pub(super) fn take(&self) -> Option<Signal> {
        let signal = self.current()?;
        if signal == Signal::Park {
            let (park, order) = (signal.code(), Ordering::AcqRel);
            // Fails when another signal has replaced it, which remains.
            let _ = self
                .code
                .compare_exchange(park, NONE, order, Ordering::Acquire);
        }
        Some(signal)
    }

    fn current(&self) -> Option<Signal> {
        let code = self.code.load(Ordering::Acquire);
        let mut signals = [Signal::Park, Signal::Finish, Signal::Close].into_iter();
        signals.find(|signal| signal.code() == code)
    }
}
