//! Spans as messages of OTLP, in protobuf.

use opentelemetry_proto::tonic::{
    collector::trace::v1::ExportTraceServiceRequest,
    common::v1::{AnyValue, InstrumentationScope, KeyValue, any_value},
    resource::v1::Resource,
    trace::v1::{
        self as message, ResourceSpans, ScopeSpans, Status,
        span::{Link, SpanKind},
        status::StatusCode,
    },
};
use prost::Message;

use super::{Attribute, Kind, Span, Value, clock::Clock};
use crate::domain::TraceContext;

/// The flag of a sampled trace.
const SAMPLED: u32 = 1;

/// The body of a call that exports these spans.
pub(super) fn encode(spans: &[Span], clock: Clock, resource: &[Attribute]) -> Vec<u8> {
    let resource = Resource {
        attributes: resource.iter().map(attribute).collect(),
        ..Resource::default()
    };
    let scope = InstrumentationScope {
        name: env!("CARGO_PKG_NAME").to_owned(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        ..InstrumentationScope::default()
    };
    let scope_spans = ScopeSpans {
        scope: Some(scope),
        spans: spans.iter().map(|span| message(span, clock)).collect(),
        ..ScopeSpans::default()
    };
    let resource_spans = ResourceSpans {
        resource: Some(resource),
        scope_spans: vec![scope_spans],
        ..ResourceSpans::default()
    };
    let request = ExportTraceServiceRequest {
        resource_spans: vec![resource_spans],
    };
    request.encode_to_vec()
}

fn message(span: &Span, clock: Clock) -> message::Span {
    let kind = match span.kind {
        Kind::Server => SpanKind::Server,
        Kind::Client => SpanKind::Client,
        Kind::Internal => SpanKind::Internal,
    };
    let status = span.failed.then(|| Status {
        code: StatusCode::Error.into(),
        ..Status::default()
    });
    message::Span {
        trace_id: trace_id(span.context),
        span_id: span_id(span.context.span_id),
        parent_span_id: span.parent.map(span_id).unwrap_or_default(),
        flags: SAMPLED,
        name: span.name.clone().into_owned(),
        kind: kind.into(),
        start_time_unix_nano: clock.nanos(span.began),
        end_time_unix_nano: clock.nanos(span.ended),
        attributes: span.attributes.iter().map(attribute).collect(),
        links: span.links.iter().map(|linked| link(*linked)).collect(),
        status,
        ..message::Span::default()
    }
}

fn link(linked: TraceContext) -> Link {
    Link {
        trace_id: trace_id(linked),
        span_id: span_id(linked.span_id),
        flags: SAMPLED,
        ..Link::default()
    }
}

fn attribute(attribute: &Attribute) -> KeyValue {
    let value = match &attribute.value {
        Value::Text(text) => any_value::Value::StringValue(text.clone().into_owned()),
        Value::Number(number) => any_value::Value::IntValue(*number),
    };
    KeyValue {
        key: attribute.key.to_owned(),
        value: Some(AnyValue { value: Some(value) }),
        ..KeyValue::default()
    }
}

fn trace_id(context: TraceContext) -> Vec<u8> {
    context.trace_id.to_be_bytes().to_vec()
}

fn span_id(id: u64) -> Vec<u8> {
    id.to_be_bytes().to_vec()
}
