//! Metrics of HTTP requests. Every request updates them, so the handles are cached.

use std::{collections::HashMap, sync::LazyLock, time::Duration};

use metrics::{
    Counter, Gauge, Histogram, Unit, counter, describe_counter, describe_gauge, describe_histogram,
    gauge, histogram,
};
use parking_lot::RwLock;

/// Route, then method and status: all three are small sets.
type Handles = HashMap<String, HashMap<(&'static str, u16), (Counter, Histogram)>>;

static HANDLES: LazyLock<RwLock<Handles>> = LazyLock::new(RwLock::default);
static IN_FLIGHT: LazyLock<Gauge> = LazyLock::new(|| gauge!("flash_sale_http_in_flight"));

pub(super) fn init() {
    describe_counter!(
        "flash_sale_http_requests_total",
        "HTTP requests by method, route and status."
    );
    describe_histogram!(
        "flash_sale_http_request_duration_seconds",
        Unit::Seconds,
        "Time from the request head to the response head, by method and route."
    );
    describe_gauge!("flash_sale_http_in_flight", "HTTP requests in progress.");
    in_flight().set(0.0);
}

/// The number of requests in progress.
pub fn in_flight() -> &'static Gauge {
    &IN_FLIGHT
}

/// Starts the counters of an answer that the API's document names at 0, so that the first burst of
/// requests is an increase.
pub fn expected(method: &'static str, route: &str, status: u16) {
    let (requests, duration) = make(method, route, status);
    requests.increment(0);
    let mut handles = HANDLES.write();
    let of_route = handles.entry(route.to_owned()).or_default();
    of_route
        .entry((method, status))
        .or_insert((requests, duration));
}

/// Counts an answered request; `route` is the pattern of its path.
pub fn answered(method: &'static str, route: &str, status: u16, took: Duration) {
    let handles = HANDLES.read();
    let cached = handles
        .get(route)
        .and_then(|of_route| of_route.get(&(method, status)));
    if let Some((requests, duration)) = cached {
        requests.increment(1);
        duration.record(took);
        return;
    }
    drop(handles);
    let (requests, duration) = make(method, route, status);
    requests.increment(1);
    duration.record(took);
    let mut handles = HANDLES.write();
    let of_route = handles.entry(route.to_owned()).or_default();
    of_route.insert((method, status), (requests, duration));
}

fn make(method: &'static str, route: &str, status: u16) -> (Counter, Histogram) {
    let route = route.to_owned();
    let requests = counter!(
        "flash_sale_http_requests_total",
        "method" => method, "route" => route.clone(), "status" => status.to_string()
    );
    let duration = histogram!(
        "flash_sale_http_request_duration_seconds", "method" => method, "route" => route
    );
    (requests, duration)
}
