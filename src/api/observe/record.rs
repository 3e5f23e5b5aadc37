//! What is recorded of an answered request: metrics, the cause of an internal error, a line of the
//! access log, the request's span.

use std::time::Instant;

use axum::{
    body::HttpBody,
    extract::{MatchedPath, Request},
    http::{Method, Uri},
    response::Response,
};

use crate::{
    api::problem::FailureCause,
    domain::{Code, TraceContext},
    metrics::{self, http::Answered},
    telemetry::{
        request::{self as current, Ids},
        sample::Sample,
        traces::{Attribute, Kind, Span, Tracer},
    },
};

/// Characters of a path in the access log and in a span.
const PATH_MAX: usize = 200;
/// The route of a path that the API does not have.
const UNMATCHED: &str = "unmatched";

/// What a listener records besides metrics. The default is nothing, for the operators' listener:
/// probes and scrapes would fill the log.
#[derive(Clone, Debug, Default)]
pub(in crate::api) struct Records {
    pub(in crate::api) tracer: Tracer,
    pub(in crate::api) access_log: Sample,
}

impl Records {
    fn are_kept(&self) -> bool {
        self.tracer.is_on() || !self.access_log.is_none()
    }
}

/// A request that has no answer yet. If it is dropped, because its caller has left, that is recorded:
/// else its other spans would have no parent.
#[derive(Debug)]
pub(super) struct Open<'a> {
    call: &'a Call,
    records: &'a Records,
    is_answered: bool,
}

impl Open<'_> {
    pub(super) fn answered(mut self, response: &Response) {
        self.is_answered = true;
        self.call.answered(self.records, response);
    }
}

impl Drop for Open<'_> {
    fn drop(&mut self) {
        if !self.is_answered {
            current::with_ids(|ids| self.call.record(self.records, None, ids));
        }
    }
}

/// A request, as far as the records of its answer need it.
#[derive(Debug)]
pub(super) struct Call {
    began: Instant,
    method: &'static str,
    route: Option<MatchedPath>,
    /// The span of the caller.
    parent: Option<u64>,
    /// Only where records are kept. A query can hold a ticket, and is never recorded.
    uri: Option<Uri>,
}

impl Call {
    pub(super) fn new(
        request: &Request,
        records: &Records,
        began: Instant,
        caller: Option<TraceContext>,
    ) -> Self {
        Self {
            began,
            method: known_method(request.method()),
            route: request.extensions().get::<MatchedPath>().cloned(),
            parent: caller.map(|caller| caller.span_id),
            uri: records.are_kept().then(|| request.uri().clone()),
        }
    }

    /// The current request is about to be served.
    pub(super) fn begin<'a>(&'a self, records: &'a Records) -> Open<'a> {
        Open {
            call: self,
            records,
            is_answered: false,
        }
    }

    /// Records the answer to the current request.
    fn answered(&self, records: &Records, response: &Response) {
        current::with_ids(|ids| {
            let id = ids.request();
            if let Some(FailureCause(cause)) = response.extensions().get() {
                tracing::error!(cause, "request {id} failed: {cause}");
            }
            metrics::http::answered(Answered {
                method: self.method,
                route: self.route(),
                status: response.status().as_u16(),
                began: self.began,
                id,
            });
            self.record(records, Some(response), ids);
        });
    }

    /// Records the end of a request; the caller of one without a response has left.
    fn record(&self, records: &Records, response: Option<&Response>, ids: &Ids) {
        let Some(uri) = &self.uri else { return };
        let is_failure = response.is_some_and(|response| response.status().is_server_error());
        let access_log = records.access_log;
        let is_shown = access_log.includes(ids.trace.span_id);
        if is_shown || (is_failure && !access_log.is_none()) {
            self.log(response, uri);
        }
        if ids.trace.is_sampled {
            records.tracer.record(self.span(response, ids, uri));
        }
    }

    fn log(&self, response: Option<&Response>, uri: &Uri) {
        let (method, route, path) = (self.method, self.route(), shortened(uri));
        let micros = self.began.elapsed().as_micros();
        let duration_ms = f64::from(u32::try_from(micros).unwrap_or(u32::MAX)) / 1_000.0;
        let Some(response) = response else {
            tracing::info!(
                target: "access",
                method, route, path, duration_ms, abandoned = true,
                "{method} {route} abandoned"
            );
            return;
        };
        let status = response.status().as_u16();
        let code = current::problem().map(Code::name);
        let bytes = response.body().size_hint().exact();
        tracing::info!(
            target: "access",
            method, route, path, status, code, duration_ms, bytes,
            "{method} {route} {status}"
        );
    }

    fn span(&self, response: Option<&Response>, ids: &Ids, uri: &Uri) -> Span {
        let method = self.method;
        let failed = response.is_some_and(|response| response.status().is_server_error());
        let mut attributes = vec![
            Attribute::text("http.request.method", method),
            Attribute::text("url.path", shortened(uri)),
            Attribute::text("flash_sale.request_id", ids.request().to_owned()),
            match response.map(Response::status) {
                Some(status) => Attribute::number("http.response.status_code", status.as_u16()),
                None => Attribute::text("flash_sale.request.result", "abandoned"),
            },
        ];
        if let Some(route) = &self.route {
            let route = route.as_str().to_owned();
            attributes.push(Attribute::text("http.route", route));
        }
        if let Some(code) = current::problem() {
            attributes.push(Attribute::text("flash_sale.code", code.name()));
            if failed {
                attributes.push(Attribute::text("error.type", code.name()));
            }
        }
        Span {
            name: format!("{method} {}", self.route()).into(),
            kind: Kind::Server,
            context: ids.trace,
            parent: self.parent,
            began: self.began,
            ended: Instant::now(),
            attributes,
            links: Vec::new(),
            failed,
        }
    }

    fn route(&self) -> &str {
        self.route.as_ref().map_or(UNMATCHED, MatchedPath::as_str)
    }
}

fn shortened(uri: &Uri) -> String {
    uri.path().chars().take(PATH_MAX).collect()
}

/// The method as a metric label; all methods that the API does not use share `other`.
fn known_method(method: &Method) -> &'static str {
    match method.as_str() {
        "GET" => "GET",
        "HEAD" => "HEAD",
        "POST" => "POST",
        "PATCH" => "PATCH",
        "DELETE" => "DELETE",
        "OPTIONS" => "OPTIONS",
        _ => "other",
    }
}
