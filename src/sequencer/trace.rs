//! The spans of a batch: one for each try to write it, with those of its lock and its statements.
//!
//! A batch serves many requests. Its span is in the trace of the first traced one, below that
//! request's span, because its time lies within that of each of its requests; it links to the spans
//! of the others, and each request's time in the queue links to it. Without a traced request
//! nothing is recorded.

use std::time::Instant;

use super::pending::PendingBatch;
use crate::{
    domain::{ProductId, TraceContext},
    telemetry::{
        request,
        traces::{Attribute, Kind, Span, Tracer, child},
    },
};

/// Requests that a batch links to: that of OpenTelemetry's specification.
const LINKS_MAX: usize = 128;

/// The request of a command, and since when it waits for a batch.
#[derive(Debug)]
pub(super) struct QueuedTrace {
    request: TraceContext,
    since: Instant,
}

impl QueuedTrace {
    /// The wait begins; `None` unless the current request is traced.
    pub(super) fn begin(tracer: &Tracer) -> Option<Box<Self>> {
        let request = tracer.is_on().then(request::sampled)??;
        let since = Instant::now();
        Some(Box::new(Self { request, since }))
    }
}

/// The recording of one try; the default records nothing.
#[derive(Debug, Default)]
pub(super) struct BatchTrace(Option<Box<Recording>>);

#[derive(Debug)]
struct Recording {
    /// The batch's span.
    context: TraceContext,
    began: Instant,
    /// Before the first reply leaves, so that the batch ends before its requests do.
    ended: Option<Instant>,
    attributes: Vec<Attribute>,
    /// The requests, and since when each was in the queue.
    requests: Vec<(TraceContext, Instant)>,
    steps: Vec<Step>,
}

/// A part of a batch.
#[derive(Debug)]
struct Step {
    name: &'static str,
    kind: Kind,
    began: Instant,
    /// `None` if it failed, or was cut off.
    ended: Option<Instant>,
    attributes: Vec<Attribute>,
}

impl BatchTrace {
    /// A batch takes its commands.
    pub(super) fn begin(tracer: &Tracer, product: ProductId, pending: &mut PendingBatch) -> Self {
        if !tracer.is_on() {
            return Self::default();
        }
        let requests = pending.traces().map(|trace| (trace.request, trace.since));
        let requests: Vec<_> = requests.collect();
        let Some((first, _)) = requests.first() else {
            return Self::default();
        };
        let attributes = vec![
            Attribute::text("flash_sale.product.id", product.to_string()),
            Attribute::number("flash_sale.batch.commands", pending.len()),
        ];
        Self(Some(Box::new(Recording {
            context: child(*first),
            began: Instant::now(),
            ended: None,
            attributes,
            requests,
            steps: Vec::new(),
        })))
    }

    /// The batch's span, for log lines of the lane.
    pub(super) fn context(&self) -> Option<TraceContext> {
        self.0.as_ref().map(|recording| recording.context)
    }

    /// A statement, or another call of the database, begins.
    pub(super) fn begin_statement(&mut self, name: &'static str, database: &'static str) {
        self.begin_step(name, Kind::Client);
        self.describe(|| vec![Attribute::text("db.system.name", database)]);
    }

    pub(super) fn begin_lock(&mut self) {
        self.begin_step("lock", Kind::Client);
    }

    fn begin_step(&mut self, name: &'static str, kind: Kind) {
        let Some(recording) = &mut self.0 else { return };
        recording.steps.push(Step {
            name,
            kind,
            began: Instant::now(),
            ended: None,
            attributes: Vec::new(),
        });
    }

    /// Adds to the last step.
    pub(super) fn describe(&mut self, attributes: impl FnOnce() -> Vec<Attribute>) {
        let recording = self.0.as_mut();
        if let Some(step) = recording.and_then(|recording| recording.steps.last_mut()) {
            step.attributes.extend(attributes());
        }
    }

    /// The last step has succeeded.
    pub(super) fn end_step(&mut self) {
        let recording = self.0.as_mut();
        if let Some(step) = recording.and_then(|recording| recording.steps.last_mut()) {
            step.ended = Some(Instant::now());
        }
    }

    /// The replies are about to leave.
    pub(super) fn end(&mut self) {
        if let Some(recording) = &mut self.0 {
            recording.ended.get_or_insert_with(Instant::now);
        }
    }

    /// Records the try, whose `result` is this; commands without a reply wait again.
    pub(super) fn record(
        mut self,
        tracer: &Tracer,
        result: &'static str,
        again: &mut PendingBatch,
    ) {
        self.end();
        let Some(recording) = self.0 else { return };
        let ended = recording.ended.unwrap_or_else(Instant::now);
        for trace in again.traces() {
            trace.since = trace.since.max(ended);
        }
        recording.record(tracer, result, ended);
    }
}

impl Recording {
    fn record(self, tracer: &Tracer, result: &'static str, ended: Instant) {
        let Self {
            context,
            began,
            mut attributes,
            requests,
            steps,
            ..
        } = self;
        for (request, since) in &requests {
            let mut span = internal("queue", *request, (*since, began));
            span.links.push(context);
            tracer.record(span);
        }
        for step in steps {
            let ends = (step.began, step.ended.unwrap_or(ended));
            tracer.record(Span {
                kind: step.kind,
                attributes: step.attributes,
                failed: step.ended.is_none(),
                ..internal(step.name, context, ends)
            });
        }
        attributes.push(Attribute::text("flash_sale.batch.result", result));
        let parent = requests.first().map(|(request, _)| request.span_id);
        let links = requests.iter().map(|(request, _)| *request);
        tracer.record(Span {
            context,
            parent,
            attributes,
            links: links.take(LINKS_MAX).collect(),
            failed: result == FAILED,
            ..internal("batch", context, (began, ended))
        });
    }
}

/// The result of a try that met an error of the database.
pub(super) const FAILED: &str = "failed";

/// A span below `parent`.
fn internal(name: &'static str, parent: TraceContext, (began, ended): (Instant, Instant)) -> Span {
    Span {
        name: name.into(),
        kind: Kind::Internal,
        context: child(parent),
        parent: Some(parent.span_id),
        began,
        ended,
        attributes: Vec::new(),
        links: Vec::new(),
        failed: false,
    }
}
