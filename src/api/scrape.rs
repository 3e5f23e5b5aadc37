//! HTTP handler of `/metrics`: Prometheus's text format, or OpenMetrics if the scraper prefers it.

use std::sync::atomic::{AtomicUsize, Ordering};

use axum::{
    http::{HeaderMap, header},
    response::{IntoResponse, Response},
};
use metrics_exporter_prometheus::PrometheusHandle;

use super::problem::Problem;
use crate::{metrics, telemetry::open_metrics};

const TEXT: &str = "text/plain; version=0.0.4; charset=utf-8";

/// Rendering takes milliseconds with hundreds of products: beside the workers of a runtime, which
/// serve the lanes.
pub(super) async fn scrape(recorder: PrometheusHandle, headers: HeaderMap) -> Response {
    let accept = headers.get(header::ACCEPT);
    let accept = accept.and_then(|accept| accept.to_str().ok());
    let open = accept.is_some_and(prefers_open_metrics);
    match tokio::task::spawn_blocking(move || render(&recorder, open)).await {
        Ok(text) => {
            let media_type = if open { open_metrics::MEDIA_TYPE } else { TEXT };
            ([(header::CONTENT_TYPE, media_type)], text).into_response()
        }
        Err(panic) => Problem::Internal {
            cause: panic.to_string(),
        }
        .into_response(),
    }
}

/// The metrics in one of the formats.
fn render(recorder: &PrometheusHandle, open: bool) -> Vec<u8> {
    // Megabytes with hundreds of products: growing to that size would copy them several times.
    static LENGTH: AtomicUsize = AtomicUsize::new(0);
    let length = LENGTH.load(Ordering::Relaxed);
    let mut text = Vec::with_capacity(length + length / 8);
    if open {
        let exemplars = metrics::http::exemplars();
        let mut writer = open_metrics::Writer::new(text, &exemplars);
        // Writing to memory cannot fail.
        drop(recorder.render_to_write(&mut writer));
        text = writer.end();
    } else {
        drop(recorder.render_to_write(&mut text));
    }
    LENGTH.store(text.len(), Ordering::Relaxed);
    text
}

/// Whether an `Accept` names OpenMetrics 1.0, and prefers nothing to it.
fn prefers_open_metrics(accept: &str) -> bool {
    let (mut open, mut text) = (0.0_f32, 0.0_f32);
    for range in accept.split(',') {
        let mut parts = range.split(';').map(str::trim);
        let media_type = parts.next().unwrap_or_default().to_ascii_lowercase();
        let (mut quality, mut version) = (1.0, None);
        for (name, value) in parts.filter_map(|part| part.split_once('=')) {
            match name.trim() {
                "q" => quality = value.trim().parse().unwrap_or(0.0),
                "version" => version = Some(value.trim().trim_matches('"')),
                _ => {}
            }
        }
        match (media_type.as_str(), version) {
            ("application/openmetrics-text", None | Some("1.0.0")) => open = open.max(quality),
            ("text/plain", None | Some("0.0.4")) => text = text.max(quality),
            _ => {}
        }
    }
    open > 0.0 && open >= text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn open_metrics_is_sent_to_scrapers_that_prefer_it() {
        let prometheus_2 = "application/openmetrics-text;version=1.0.0,\
            application/openmetrics-text;version=0.0.1;q=0.75,text/plain;version=0.0.4;q=0.5,*/*;q=0.1";
        let prometheus_3 = "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.6,\
            text/plain;version=1.0.0;escaping=allow-utf-8;q=0.4,text/plain;version=0.0.4;q=0.3,*/*;q=0.2";
        for preferring in [prometheus_2, prometheus_3, "application/openmetrics-text"] {
            assert!(prefers_open_metrics(preferring), "{preferring}");
        }
        for other in [
            "*/*",
            "text/html,*/*;q=0.8",
            "text/plain;version=0.0.4;q=0.5,application/openmetrics-text;version=1.0.0;q=0.4",
            "application/openmetrics-text;version=1.0.0;q=0",
            "application/openmetrics-text;version=0.0.1",
            "",
        ] {
            assert!(!prefers_open_metrics(other), "{other}");
        }
    }
}
