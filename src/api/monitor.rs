//! The live monitor at `/` of the operators' listener: its files, its events, and the demo's crowd.
//!
//! With `OPS_PASSWORD` all of it, and `/metrics`, need the password (`api/monitor/password.rs`); the
//! probes do not. Without one, a listener on loopback answers to names of this machine only
//! (`api/monitor/host.rs`).

use std::{convert::Infallible, net::SocketAddr, sync::Arc, time::Duration};

use axum::{
    Router,
    body::Body,
    extract::{Path, Request},
    http::{HeaderName, header},
    middleware,
    response::{IntoResponse, Response},
    routing::{get, post},
};
use bytes::Bytes;
use futures::{StreamExt, stream};
use metrics_exporter_prometheus::PrometheusHandle;

use self::{crowd::Crowds, password::Door};
use super::{
    SharedState,
    files::{self, File, HTML, IMAGE, SCRIPT, STYLE, TEXT, respond},
    problem::Problem,
    scrape,
};
use crate::{
    admission::StreamRefused,
    domain::{Secret, jitter},
    metrics::connections::StreamBound,
    monitor::{Monitor, Viewer},
    tasks::Tasks,
};

mod crowd;
mod host;
mod password;

const PAGE: &str = include_str!("../../monitor/index.html");

/// Where the page keeps the token that starts a crowd; empty without `--demo`.
const TOKEN_PLACE: &str = "name=\"crowd-token\" content=\"\"";

macro_rules! file {
    ($name:literal, $path:literal, $media_type:expr) => {
        File {
            name: $name,
            media_type: $media_type,
            text: include_str!(concat!("../../monitor/", $path)),
        }
    };
}

const FILES: [File; 13] = [
    file!("monitor.css", "monitor.css", STYLE),
    file!("start.js", "start.js", SCRIPT),
    file!("monitor.js", "monitor.js", SCRIPT),
    file!("feed.js", "feed.js", SCRIPT),
    file!("alerts.js", "alerts.js", SCRIPT),
    file!("charts.js", "charts.js", SCRIPT),
    file!("drops.js", "drops.js", SCRIPT),
    file!("tables.js", "tables.js", SCRIPT),
    file!("dom.js", "dom.js", SCRIPT),
    file!("icon.svg", "icon.svg", IMAGE),
    file!("uPlot.js", "vendor/uPlot.iife.min.js", SCRIPT),
    file!("uPlot.css", "vendor/uPlot.min.css", STYLE),
    file!("uPlot-LICENSE.txt", "vendor/LICENSE", TEXT),
];

/// What the operators' pages are made from.
#[derive(Debug)]
pub struct Operations {
    pub recorder: PrometheusHandle,
    pub monitor: Monitor,
    /// Of the listener.
    pub address: SocketAddr,
    /// `OPS_PASSWORD`.
    pub password: Option<Secret>,
    /// The API, for the demo's crowd.
    pub api: Router,
    /// On the runtime of the requests.
    pub tasks: Tasks,
}

/// The monitor and `/metrics`.
pub(super) fn pages(state: &SharedState, operations: Operations) -> Router<SharedState> {
    let Operations {
        recorder,
        monitor,
        address,
        password,
        api,
        tasks,
    } = operations;
    let crowds = state
        .guests
        .clone()
        .map(|signer| Arc::new(Crowds::new(signer, api, monitor.clone(), tasks.clone())));
    let token = crowds.as_ref().map_or("", |crowds| crowds.token());
    let page = PAGE.replace(
        TOKEN_PLACE,
        &format!("name=\"crowd-token\" content=\"{token}\""),
    );
    let page = Bytes::from(page);
    let mut router = Router::new()
        .route("/", get(async move || respond(HTML, page)))
        .route(
            "/metrics",
            get(move |headers| scrape::scrape(recorder.clone(), headers)),
        )
        .route(
            "/monitor/events",
            get(async move || events(&monitor, tasks)),
        )
        .route(
            "/monitor/{file}",
            get(async |Path(name): Path<String>| files::find(&FILES, &name)),
        );
    if let Some(crowds) = crowds {
        let send = move |state, request: Request| crowd::send(crowds, state, request);
        router = router.route("/monitor/crowd", post(send));
    }
    match password {
        Some(password) => {
            let door = Arc::new(Door::new(&password, Arc::clone(state)));
            router.route_layer(middleware::from_fn_with_state(door, password::check))
        }
        None if address.ip().is_loopback() => router.route_layer(middleware::from_fn(host::check)),
        None => router,
    }
}

/// A browser connects again after about this time.
const RETRY: Duration = Duration::from_secs(2);

/// The charts so far, then a snapshot a second until the service stops. A snapshot is one text for
/// all viewers, and a viewer that reads slowly skips those that it did not take.
fn events(monitor: &Monitor, tasks: Tasks) -> Response {
    let Ok(viewer) = monitor.watch() else {
        // More than `MONITOR_VIEWERS_MAX`.
        return Problem::StreamLimit(StreamRefused(StreamBound::Node)).into_response();
    };
    let retry = Bytes::from(format!("retry: {}\n\n", jitter(RETRY).as_millis()));
    let first = stream::iter([retry, viewer.history()]);
    let snapshots = stream::unfold(viewer, async |mut viewer: Viewer| {
        let snapshot = viewer.next().await?;
        Some((snapshot, viewer))
    });
    let end = Box::pin(async move { tasks.stopped().await });
    let events = first.chain(snapshots).take_until(end);
    let body = Body::from_stream(events.map(Ok::<_, Infallible>));
    let headers = [
        (header::CONTENT_TYPE, "text/event-stream"),
        (header::CACHE_CONTROL, "no-cache"),
        (HeaderName::from_static("x-accel-buffering"), "no"),
    ];
    (headers, body).into_response()
}
