//! An OpenTelemetry collector of a test: it keeps the spans that it gets, and can hang.

use std::{
    collections::BTreeMap,
    fmt::Write,
    sync::{
        Arc, Mutex,
        atomic::{AtomicI64, Ordering},
    },
};

use axum::{
    Router,
    body::Bytes,
    extract::State,
    http::{HeaderMap, header},
    routing::post,
};
use opentelemetry_proto::tonic::{
    collector::trace::v1::{
        ExportTracePartialSuccess, ExportTraceServiceRequest, ExportTraceServiceResponse,
    },
    common::v1::{KeyValue, any_value::Value},
    trace::v1::{self as message, span::SpanKind},
};
use prost::Message;
use tokio::{net::TcpListener, sync::watch, task::JoinSet};

use super::{SOON, eventually, shop::Plan};

#[derive(Debug)]
pub(crate) struct Collector {
    port: u16,
    shared: Arc<Shared>,
    _serving: JoinSet<()>,
}

#[derive(Debug)]
struct Shared {
    spans: Mutex<Vec<Span>>,
    /// Calls that arrive meanwhile are not answered.
    hangs: watch::Sender<bool>,
    /// Spans of each call that the collector says that it rejects.
    rejects: AtomicI64,
}

/// A span as it arrived; ids are in hexadecimal.
#[derive(Clone, Debug)]
pub(crate) struct Span {
    pub(crate) trace: String,
    pub(crate) id: String,
    pub(crate) parent: String,
    pub(crate) name: String,
    pub(crate) kind: SpanKind,
    /// Nanoseconds.
    pub(crate) began: u64,
    pub(crate) ended: u64,
    pub(crate) attributes: BTreeMap<String, String>,
    /// The ids of the linked spans.
    pub(crate) links: Vec<String>,
    pub(crate) failed: bool,
    pub(crate) service: String,
}

impl Collector {
    pub(crate) async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let shared = Arc::new(Shared {
            spans: Mutex::default(),
            hangs: watch::channel(false).0,
            rejects: AtomicI64::new(0),
        });
        let router = Router::new()
            .route("/v1/traces", post(receive))
            .with_state(Arc::clone(&shared));
        let mut serving = JoinSet::new();
        serving.spawn(async move { axum::serve(listener, router).await.unwrap() });
        Self {
            port,
            shared,
            _serving: serving,
        }
    }

    /// A shop that traces this share of the requests.
    pub(crate) fn traces(&self, plan: Plan, share: &str) -> Plan {
        let endpoint = format!("http://127.0.0.1:{}", self.port);
        plan.set("OTEL_EXPORTER_OTLP_ENDPOINT", &endpoint)
            .set("OTEL_TRACES_SAMPLER_ARG", share)
    }

    pub(crate) fn hang(&self, hangs: bool) {
        self.shared.hangs.send_replace(hangs);
    }

    pub(crate) fn reject(&self, spans: i64) {
        self.shared.rejects.store(spans, Ordering::Relaxed);
    }

    pub(crate) fn spans(&self) -> Vec<Span> {
        self.shared.spans.lock().unwrap().clone()
    }

    /// The spans of a trace, once that of its request and one of this name have arrived.
    pub(crate) async fn trace(&self, trace: &str, last: &str) -> Trace {
        eventually("the trace has arrived", SOON, async || {
            let mut spans = self.spans();
            spans.retain(|span| span.trace == trace);
            let has_last = spans.iter().any(|span| span.name == last);
            let is_answered = spans.iter().any(Span::is_request);
            (has_last && is_answered).then_some(Trace(spans))
        })
        .await
    }
}

async fn receive(State(shared): State<Arc<Shared>>, headers: HeaderMap, body: Bytes) -> Vec<u8> {
    let mut hangs = shared.hangs.subscribe();
    hangs.wait_for(|hangs| !hangs).await.unwrap();
    assert_eq!(headers[header::CONTENT_TYPE], "application/x-protobuf");
    let request = ExportTraceServiceRequest::decode(body).unwrap();
    let mut arrived = Vec::new();
    for resource in request.resource_spans {
        let of = attributes(resource.resource.unwrap().attributes);
        let spans = resource.scope_spans.into_iter().flat_map(|it| it.spans);
        arrived.extend(spans.map(|span| Span::new(span, of["service.name"].clone())));
    }
    shared.spans.lock().unwrap().extend(arrived);
    let partial_success = ExportTracePartialSuccess {
        rejected_spans: shared.rejects.load(Ordering::Relaxed),
        error_message: "too\nold".to_owned(),
    };
    let answer = ExportTraceServiceResponse {
        partial_success: Some(partial_success),
    };
    answer.encode_to_vec()
}

impl Span {
    fn new(span: message::Span, service: String) -> Self {
        let kind = span.kind();
        Self {
            trace: hex(&span.trace_id),
            id: hex(&span.span_id),
            parent: hex(&span.parent_span_id),
            name: span.name,
            kind,
            began: span.start_time_unix_nano,
            ended: span.end_time_unix_nano,
            attributes: attributes(span.attributes),
            links: span.links.iter().map(|link| hex(&link.span_id)).collect(),
            failed: span.status.is_some_and(|status| status.code != 0),
            service,
        }
    }

    pub(crate) fn is_request(&self) -> bool {
        self.kind == SpanKind::Server
    }

    /// Whether this span's time contains that of the other one.
    pub(crate) fn contains(&self, other: &Self) -> bool {
        self.began <= other.began && other.began <= other.ended && other.ended <= self.ended
    }
}

/// The spans of a trace.
#[derive(Debug)]
pub(crate) struct Trace(pub(crate) Vec<Span>);

impl Trace {
    /// The request's span.
    pub(crate) fn request(&self) -> &Span {
        self.0.iter().find(|span| span.is_request()).unwrap()
    }

    /// The only span of this name.
    #[track_caller]
    pub(crate) fn one(&self, name: &str) -> &Span {
        let found: Vec<_> = self.0.iter().filter(|span| span.name == name).collect();
        assert_eq!(found.len(), 1, "{name} of {self:#?}");
        found[0]
    }

    /// The names of the spans below a span, in the order of their beginnings.
    pub(crate) fn below(&self, parent: &Span) -> Vec<&str> {
        let mut children: Vec<_> = self.0.iter().filter(|it| it.parent == parent.id).collect();
        children.sort_by_key(|child| child.began);
        for child in &children {
            assert!(parent.contains(child), "{child:?} is not within {parent:?}");
        }
        children.iter().map(|child| child.name.as_str()).collect()
    }
}

fn attributes(attributes: Vec<KeyValue>) -> BTreeMap<String, String> {
    let text = |attribute: KeyValue| {
        let value = match attribute.value.unwrap().value {
            Some(Value::StringValue(text)) => text,
            Some(Value::IntValue(number)) => number.to_string(),
            value => panic!("{value:?}"),
        };
        (attribute.key, value)
    };
    attributes.into_iter().map(text).collect()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        write!(text, "{byte:02x}").unwrap();
        text
    })
}
