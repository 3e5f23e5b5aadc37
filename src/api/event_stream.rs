//! Responses of server-sent events: headers, reconnection time, keep-alive, and the stream's end.

use std::{convert::Infallible, future::Future, time::Duration};

use axum::response::{
    IntoResponse, Response,
    sse::{Event, KeepAlive, Sse},
};
use futures::{Stream, StreamExt, stream};

use crate::{domain::jitter, telemetry::request};

/// Interval of keep-alive comments, by which both ends detect a lost connection.
const HEARTBEAT: Duration = Duration::from_secs(15);
/// A client connects again after about this time: not all of a stopped node's clients at once.
const RETRY: Duration = Duration::from_secs(2);

/// Streams the events until `end` resolves.
pub(super) fn respond(
    events: impl Stream<Item = Event> + Send + 'static,
    end: impl Future<Output = ()> + Send + 'static,
) -> Response {
    let first = Event::default().retry(jitter(RETRY));
    let events = stream::iter([first])
        .chain(events)
        .take_until(Box::pin(end));
    let events = request::carry_stream(events);
    let events =
        Sse::new(events.map(Ok::<_, Infallible>)).keep_alive(KeepAlive::new().interval(HEARTBEAT));
    // nginx would hold events back until its buffer is full.
    ([("x-accel-buffering", "no")], events).into_response()
}
