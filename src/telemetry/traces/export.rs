//! Exports spans with OTLP over HTTP, in bodies of many spans.
//!
//! A collector that is down or silent costs its spans and nothing else: while a call waits, the
//! queue fills, and further spans are dropped and counted. A call is not repeated, because the
//! spans that come meanwhile matter more.

use std::{pin::pin, time::Duration};

use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceResponse;
use prost::Message;
use reqwest::{Client, Response, StatusCode, Url, header};
use tokio::{
    sync::mpsc,
    time::{Instant, timeout_at},
};
use uuid::Uuid;

use super::{Attribute, Span, clock::Clock, otlp};
use crate::{domain::in_one_line, http_client, metrics};

/// Spans of one call.
const BATCH_MAX: usize = 512;
/// A span waits for others for this long.
const GATHER: Duration = Duration::from_secs(1);
const CONNECT_WITHIN: Duration = Duration::from_secs(2);
const EXPORT_WITHIN: Duration = Duration::from_secs(5);
/// A longer answer is not read to its end, which costs the connection.
const ANSWER_BYTES_MAX: usize = 64 * 1024;
/// Characters of the reason that a collector gives.
const REASON_MAX: usize = 200;

/// Why there is nothing that exports.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("OTEL_EXPORTER_OTLP_ENDPOINT: not a URL")]
    Url,
    #[error("cannot set up the HTTP client of traces")]
    Client(#[source] reqwest::Error),
}

#[derive(Debug, thiserror::Error)]
enum Failure {
    #[error("no answer within {} seconds", EXPORT_WITHIN.as_secs())]
    Timeout,
    #[error("the call failed")]
    Transport(#[source] reqwest::Error),
    #[error("the answer has the status {0}")]
    Status(StatusCode),
    #[error("the collector rejects {spans} of them: {reason}")]
    Rejected { spans: usize, reason: String },
}

/// Sends the spans of the queue to the collector.
#[derive(Debug)]
pub struct Exporter {
    spans: mpsc::Receiver<Span>,
    client: Client,
    url: Url,
    resource: Vec<Attribute>,
    clock: Clock,
    /// Whether the last call failed.
    is_failing: bool,
}

impl Exporter {
    pub(super) fn new(
        endpoint: &str,
        service: &str,
        spans: mpsc::Receiver<Span>,
    ) -> Result<Self, Error> {
        // The path of traces is appended, as OpenTelemetry defines the setting.
        let url = format!("{}/v1/traces", endpoint.trim_end_matches('/'));
        let client = http_client::builder(CONNECT_WITHIN)
            .build()
            .map_err(Error::Client)?;
        Ok(Self {
            spans,
            client,
            url: Url::parse(&url).map_err(|_| Error::Url)?,
            resource: vec![
                Attribute::text("service.name", service.to_owned()),
                Attribute::text("service.version", env!("CARGO_PKG_VERSION")),
                Attribute::text("service.instance.id", Uuid::now_v7().to_string()),
            ],
            clock: Clock::now(),
            is_failing: false,
        })
    }

    /// Exports until it is stopped, and then what is left in the queue.
    pub async fn run(mut self, stopped: impl Future<Output = ()>) {
        let mut stopped = pin!(stopped);
        let mut batch = Vec::new();
        loop {
            let stops = tokio::select! {
                () = &mut stopped => true,
                () = self.gather(&mut batch) => false,
            };
            if stops {
                break;
            }
            self.send(&mut batch).await;
        }
        self.fill(&mut batch);
        while !batch.is_empty() {
            self.send(&mut batch).await;
            self.fill(&mut batch);
        }
    }

    /// Waits for spans until there are enough for a call, or the first has waited for long. Keeps
    /// what it has when it is cancelled.
    async fn gather(&mut self, batch: &mut Vec<Span>) {
        if batch.is_empty() && self.spans.recv_many(batch, BATCH_MAX).await == 0 {
            // Nobody is left who records.
            std::future::pending::<()>().await;
        }
        let deadline = Instant::now() + GATHER;
        while batch.len() < BATCH_MAX {
            let more = self.spans.recv_many(batch, BATCH_MAX - batch.len());
            match timeout_at(deadline, more).await {
                Ok(0) | Err(_) => break,
                Ok(_) => {}
            }
        }
    }

    /// Adds what the queue holds.
    fn fill(&mut self, batch: &mut Vec<Span>) {
        while batch.len() < BATCH_MAX {
            match self.spans.try_recv() {
                Ok(span) => batch.push(span),
                Err(_) => break,
            }
        }
    }

    async fn send(&mut self, batch: &mut Vec<Span>) {
        self.clock = self.clock.followed(Clock::now());
        let body = otlp::encode(batch, self.clock, &self.resource);
        let sent = self.post(body).await;
        let lost = match &sent {
            Ok(()) => 0,
            Err(Failure::Rejected { spans, .. }) => batch.len().min(*spans),
            Err(Failure::Timeout | Failure::Transport(_) | Failure::Status(_)) => batch.len(),
        };
        metrics::traces::dropped(lost);
        metrics::traces::exported(batch.len() - lost);
        batch.clear();
        self.note(sent);
    }

    async fn post(&self, body: Vec<u8>) -> Result<(), Failure> {
        let call = self.client.post(self.url.clone()).body(body);
        let call = call.header(header::CONTENT_TYPE, "application/x-protobuf");
        let deadline = Instant::now() + EXPORT_WITHIN;
        let answer = timeout_at(deadline, call.send()).await;
        let answer = answer.map_err(|_| Failure::Timeout)?.map_err(transport)?;
        if !answer.status().is_success() {
            return Err(Failure::Status(answer.status()));
        }
        // The spans have arrived: an answer that breaks off, or is none of OTLP, changes nothing.
        let text = timeout_at(deadline, read(answer)).await.unwrap_or_default();
        let answer = ExportTraceServiceResponse::decode(&*text).unwrap_or_default();
        let rejected = answer.partial_success.unwrap_or_default();
        match usize::try_from(rejected.rejected_spans) {
            Ok(0) | Err(_) => Ok(()),
            Ok(spans) => Err(Failure::Rejected {
                spans,
                reason: rejected.error_message.chars().take(REASON_MAX).collect(),
            }),
        }
    }

    /// Logs the first failure, and the first success after it.
    fn note(&mut self, sent: Result<(), Failure>) {
        let had_failed = std::mem::replace(&mut self.is_failing, sent.is_err());
        match sent {
            Err(error) if !had_failed => {
                let first: &(dyn std::error::Error + 'static) = &error;
                let chain = std::iter::successors(Some(first), |error| error.source());
                let causes = in_one_line(chain);
                tracing::warn!(
                    "OTEL_EXPORTER_OTLP_ENDPOINT: cannot export spans, they are dropped: {causes}"
                );
            }
            Ok(()) if had_failed => {
                tracing::info!("OTEL_EXPORTER_OTLP_ENDPOINT: spans are exported again");
            }
            Err(_) | Ok(()) => {}
        }
    }
}

/// The body of an answer, empty if it breaks off or is too long. One that was read leaves the connection
/// to the next call.
async fn read(mut answer: Response) -> Vec<u8> {
    let mut text = Vec::new();
    loop {
        match answer.chunk().await {
            Ok(Some(part)) => text.extend_from_slice(&part),
            Ok(None) => return text,
            Err(_) => return Vec::new(),
        }
        if text.len() > ANSWER_BYTES_MAX {
            return Vec::new();
        }
    }
}

/// Without the URL, which may hold more than an address.
fn transport(error: reqwest::Error) -> Failure {
    Failure::Transport(error.without_url())
}
