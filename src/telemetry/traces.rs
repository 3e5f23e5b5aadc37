//! Traces for OpenTelemetry: which requests are traced, and the spans that they leave.
//!
//! A span is made when it has ended, from the times of its two ends, so that a request that is not
//! traced pays for one comparison. Recording never waits: a full queue drops the span.

use std::{
    borrow::Cow,
    sync::Arc,
    time::{Duration, Instant},
};

use parking_lot::Mutex;
use tokio::sync::mpsc;

use super::{request, sample::Sample};
use crate::{config, domain::TraceContext, metrics};

mod clock;
mod export;
mod otlp;

pub use self::export::{Error, Exporter};

/// Spans that wait for the exporter; with 100 traced orders a second those of some five seconds.
const QUEUE_MAX: usize = 4_096;
/// Requests a second that are traced because their caller asks for it: anybody can send a
/// `traceparent`, and must not be able to have every request traced.
const ASKED_MAX: u32 = 100;

/// The handle on the traces; clones share it. The default records nothing.
#[derive(Clone, Debug, Default)]
pub struct Tracer(Option<Arc<Recorder>>);

#[derive(Debug)]
struct Recorder {
    spans: mpsc::Sender<Span>,
    sample: Sample,
    asked: Mutex<Window>,
}

/// An interval that has ended.
#[derive(Debug)]
pub struct Span {
    pub name: Cow<'static, str>,
    pub kind: Kind,
    pub context: TraceContext,
    pub parent: Option<u64>,
    pub began: Instant,
    pub ended: Instant,
    pub attributes: Vec<Attribute>,
    /// Spans that caused this one, or that this one waited for.
    pub links: Vec<TraceContext>,
    pub failed: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A request that this service answers.
    Server,
    /// A call of another server.
    Client,
    Internal,
}

#[derive(Clone, Debug)]
pub struct Attribute {
    key: &'static str,
    value: Value,
}

#[derive(Clone, Debug)]
enum Value {
    Text(Cow<'static, str>),
    Number(i64),
}

impl Attribute {
    pub fn text(key: &'static str, value: impl Into<Cow<'static, str>>) -> Self {
        let value = Value::Text(value.into());
        Self { key, value }
    }

    pub fn number(key: &'static str, value: impl TryInto<i64>) -> Self {
        let value = Value::Number(value.try_into().unwrap_or(i64::MAX));
        Self { key, value }
    }
}

impl Tracer {
    /// Takes the share of the requests without a `traceparent` to trace; returns what exports the
    /// spans. Both do nothing without an endpoint.
    ///
    /// # Errors
    /// When there is no HTTP client to be had.
    pub fn new(config: &config::Telemetry) -> Result<(Self, Option<Exporter>), Error> {
        let Some(endpoint) = &config.otel_exporter_otlp_endpoint else {
            return Ok((Self::default(), None));
        };
        let (spans, queue) = mpsc::channel(QUEUE_MAX);
        let exporter = Exporter::new(endpoint, &config.otel_service_name, queue)?;
        let recorder = Recorder {
            spans,
            sample: Sample::new(config.otel_traces_sampler_arg),
            asked: Mutex::default(),
        };
        Ok((Self(Some(Arc::new(recorder))), Some(exporter)))
    }

    pub fn is_on(&self) -> bool {
        self.0.is_some()
    }

    /// The span of a request: in the trace of its caller, or the first of a new one. A caller's
    /// decision to record its trace, or not to, is kept.
    pub fn enter(&self, caller: Option<TraceContext>, now: Instant) -> TraceContext {
        let (trace_id, span_id): (u128, u64) = rand::random();
        let is_sampled = self.0.as_ref().is_some_and(|recorder| match caller {
            Some(caller) => caller.is_sampled && recorder.asked.lock().admits(now),
            None => recorder.sample.includes(span_id),
        });
        TraceContext {
            trace_id: caller.map_or(trace_id, |caller| caller.trace_id).max(1),
            span_id: span_id.max(1),
            is_sampled,
        }
    }

    /// Begins a span of the current request, if that is traced.
    pub fn begin(&self, name: &'static str) -> Option<OpenSpan> {
        self.0.as_ref()?;
        let request = request::sampled()?;
        Some(OpenSpan {
            name,
            request,
            began: Instant::now(),
        })
    }

    /// Ends a span of the current request.
    pub fn end(&self, span: &OpenSpan, attributes: Vec<Attribute>) {
        self.record(Span {
            name: span.name.into(),
            kind: Kind::Internal,
            context: child(span.request),
            parent: Some(span.request.span_id),
            began: span.began,
            ended: Instant::now(),
            attributes,
            links: Vec::new(),
            failed: false,
        });
    }

    pub fn record(&self, span: Span) {
        let Some(recorder) = &self.0 else { return };
        if recorder.spans.try_send(span).is_err() {
            metrics::traces::dropped(1);
        }
    }
}

/// A span of a request that has begun. One that is dropped leaves no span.
#[derive(Debug)]
pub struct OpenSpan {
    name: &'static str,
    request: TraceContext,
    began: Instant,
}

/// A new span of the same trace.
pub fn child(of: TraceContext) -> TraceContext {
    of.with_span(rand::random::<u64>().max(1))
}

/// The requests of this second whose callers asked for a trace.
#[derive(Debug, Default)]
struct Window {
    began: Option<Instant>,
    admitted: u32,
}

impl Window {
    fn admits(&mut self, now: Instant) -> bool {
        let is_over = |began| now.saturating_duration_since(began) >= Duration::from_secs(1);
        if self.began.is_none_or(is_over) {
            self.began = Some(now);
            self.admitted = 0;
        }
        let admits = self.admitted < ASKED_MAX;
        self.admitted += u32::from(admits);
        admits
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tracer(share: f64) -> (Tracer, mpsc::Receiver<Span>) {
        let (spans, queue) = mpsc::channel(QUEUE_MAX);
        let recorder = Recorder {
            spans,
            sample: Sample::new(share),
            asked: Mutex::default(),
        };
        (Tracer(Some(Arc::new(recorder))), queue)
    }

    fn caller(is_sampled: bool) -> TraceContext {
        TraceContext {
            trace_id: 7,
            span_id: 8,
            is_sampled,
        }
    }

    #[test]
    fn a_callers_decision_is_kept() {
        let now = Instant::now();
        let (all, _queue) = tracer(1.0);
        let (none, _queue) = tracer(0.0);
        assert!(all.enter(None, now).is_sampled);
        assert!(!all.enter(Some(caller(false)), now).is_sampled);
        assert!(!none.enter(None, now).is_sampled);
        let asked = none.enter(Some(caller(true)), now);
        assert!(asked.is_sampled);
        assert_eq!(asked.trace_id, 7);
        assert_ne!(asked.span_id, 8);
        assert!(!Tracer::default().enter(Some(caller(true)), now).is_sampled);
    }

    #[test]
    fn callers_cannot_have_every_request_traced() {
        let (callers, _queue) = tracer(0.0);
        let start = Instant::now();
        let admitted = |from: Duration| {
            let requests =
                (0..10 * ASKED_MAX).map(|_| callers.enter(Some(caller(true)), start + from));
            requests.filter(|request| request.is_sampled).count()
        };
        let most = usize::try_from(ASKED_MAX).unwrap();
        assert_eq!(admitted(Duration::ZERO), most);
        assert_eq!(admitted(Duration::from_millis(999)), 0);
        assert_eq!(admitted(Duration::from_secs(1)), most);
    }
}
