//! The request that the current task serves: its ids, for log lines and problem documents.
//!
//! A value of the task, and not a span of `tracing`: a span costs every request the time of some
//! microseconds, whether a line is logged or not, and this one a few nanoseconds.

use std::{cell::Cell, pin::pin};

use axum::http::HeaderValue;
use futures::{Stream, stream};

use crate::domain::{Code, TraceContext};

/// What names a request in the log.
#[derive(Clone, Debug)]
pub struct Ids {
    /// Its `X-Request-Id`: visible ASCII.
    pub request: HeaderValue,
    /// Its span, whether that is recorded or not.
    pub trace: TraceContext,
}

#[derive(Debug)]
struct Current {
    ids: Ids,
    /// The code of the problem that answers it.
    code: Cell<Option<Code>>,
}

tokio::task_local! {
    static CURRENT: Current;
}

impl Ids {
    /// The ids of a caller that the audit trail names.
    pub fn of_caller(request: &str, trace: TraceContext) -> Option<Self> {
        let request = HeaderValue::from_str(request).ok()?;
        Some(Self { request, trace })
    }

    pub fn request(&self) -> &str {
        self.request.to_str().unwrap_or_default()
    }
}

impl From<Ids> for Current {
    fn from(ids: Ids) -> Self {
        let code = Cell::new(None);
        Self { ids, code }
    }
}

/// Serves a request: its ids are known within `work`, and returned with the result.
pub async fn serve<T>(ids: Ids, work: impl Future<Output = T>) -> (T, Option<Ids>) {
    let mut work = pin!(CURRENT.scope(ids.into(), work));
    let result = work.as_mut().await;
    (result, work.take_value().map(|current| current.ids))
}

/// Work that another task continues for the current request.
pub fn carry<T>(work: impl Future<Output = T>) -> impl Future<Output = T> {
    let ids = with_ids(Ids::clone);
    async move {
        match ids {
            Some(ids) => CURRENT.scope(ids.into(), work).await,
            None => work.await,
        }
    }
}

/// A stream that goes on for the current request after it was answered.
pub fn carry_stream<T>(events: impl Stream<Item = T> + Send) -> impl Stream<Item = T> + Send {
    let ids = with_ids(Ids::clone);
    let mut events = Box::pin(events);
    stream::poll_fn(move |context| on_behalf_of(ids.clone(), || events.as_mut().poll_next(context)))
}

/// Work for this request in a task that serves many.
pub fn on_behalf_of<T>(ids: Option<Ids>, work: impl FnOnce() -> T) -> T {
    match ids {
        Some(ids) => CURRENT.sync_scope(ids.into(), work),
        None => work(),
    }
}

/// `None` in a task that serves no request.
pub fn with_ids<T>(read: impl FnOnce(&Ids) -> T) -> Option<T> {
    CURRENT.try_with(|current| read(&current.ids)).ok()
}

/// The span of the current request, if it is recorded.
pub fn sampled() -> Option<TraceContext> {
    with_ids(|ids| ids.trace).filter(|trace| trace.is_sampled)
}

/// Notes that a problem answers the current request.
pub fn note_problem(code: Code) {
    // There is none where a test makes a response.
    let _ = CURRENT.try_with(|current| current.code.set(Some(code)));
}

/// The code of the problem that answers the current request.
pub fn problem() -> Option<Code> {
    CURRENT
        .try_with(|current| current.code.get())
        .ok()
        .flatten()
}
