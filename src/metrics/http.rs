//! Metrics of HTTP requests. Every request updates them, so the handles are cached.

use std::{
    collections::HashMap,
    sync::{Arc, LazyLock},
    time::{Duration, Instant, SystemTime},
};

use metrics::{
    Counter, Gauge, Histogram, Unit, counter, describe_counter, describe_gauge, describe_histogram,
    gauge, histogram,
};
use parking_lot::{Mutex, RwLock};

use super::SECONDS_BUCKETS;

pub const LATENCY: &str = "flash_sale_http_request_duration_seconds";
/// A bucket's exemplar stays for this long, so that hardly any request writes one.
const EXEMPLAR_FOR: Duration = Duration::from_secs(1);
/// OpenMetrics permits 128 letters in an exemplar, with the label's name.
const REQUEST_MAX: usize = 100;

/// Route, then method and status: all three are small sets.
type Handles = HashMap<String, HashMap<(&'static str, u16), Handle>>;

#[derive(Clone)]
struct Handle {
    requests: Counter,
    duration: Histogram,
    exemplars: Arc<Buckets>,
}

/// A recent request of each bucket; the last one is that above all bounds.
type Buckets = [Mutex<Option<Noted>>; SECONDS_BUCKETS.len() + 1];

struct Noted {
    request: String,
    took: Duration,
    at: Instant,
}

/// A recent request of a bucket of the request durations.
#[derive(Clone, Debug)]
pub struct Exemplar {
    /// Its `X-Request-Id`.
    pub request: String,
    pub seconds: f64,
    /// When it was answered, since the Unix epoch.
    pub at: Duration,
}

static HANDLES: LazyLock<RwLock<Handles>> = LazyLock::new(RwLock::default);
static IN_FLIGHT: LazyLock<Gauge> = LazyLock::new(|| gauge!("flash_sale_http_in_flight"));

pub(super) fn init() {
    describe_counter!(
        "flash_sale_http_requests_total",
        "HTTP requests by method, route and status."
    );
    describe_histogram!(
        LATENCY,
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
    handle(method, route, status).requests.increment(0);
}

/// An answered request; `route` is the pattern of its path, `id` its `X-Request-Id`.
#[derive(Clone, Copy, Debug)]
pub struct Answered<'a> {
    pub method: &'static str,
    pub route: &'a str,
    pub status: u16,
    pub began: Instant,
    pub id: &'a str,
}

pub fn answered(request: Answered<'_>) {
    let now = Instant::now();
    let took = now.duration_since(request.began);
    let handles = HANDLES.read();
    let cached = handles
        .get(request.route)
        .and_then(|of_route| of_route.get(&(request.method, request.status)));
    if let Some(handle) = cached {
        handle.count(request.id, took, now);
        return;
    }
    drop(handles);
    handle(request.method, request.route, request.status).count(request.id, took, now);
}

impl Handle {
    fn count(&self, id: &str, took: Duration, now: Instant) {
        self.requests.increment(1);
        self.duration.record(took);
        let seconds = took.as_secs_f64();
        let bucket = SECONDS_BUCKETS.partition_point(|bound| *bound < seconds);
        // A request that does not get the slot at once leaves it to another one.
        let slot = self.exemplars.get(bucket).and_then(Mutex::try_lock);
        if let Some(mut slot) = slot
            && slot
                .as_ref()
                .is_none_or(|noted| now.duration_since(noted.at) >= EXEMPLAR_FOR)
            && is_plain(id)
        {
            *slot = Some(Noted {
                request: id.to_owned(),
                took,
                at: now,
            });
        }
    }
}

/// Whether an id needs no escape in an exemplar; a caller may send any visible letters.
fn is_plain(id: &str) -> bool {
    let plain = |letter: u8| letter.is_ascii_alphanumeric() || b"-_.:/+=".contains(&letter);
    (1..=REQUEST_MAX).contains(&id.len()) && id.bytes().all(plain)
}

/// The handle of these labels, which is made if it is missing.
fn handle(method: &'static str, route: &str, status: u16) -> Handle {
    let mut handles = HANDLES.write();
    let of_route = handles.entry(route.to_owned()).or_default();
    if let Some(handle) = of_route.get(&(method, status)) {
        return handle.clone();
    }
    // Durations have no status.
    let same = of_route.iter().find(|((other, _), _)| *other == method);
    let exemplars = same.map(|(_, handle)| Arc::clone(&handle.exemplars));
    let route = route.to_owned();
    let handle = Handle {
        requests: counter!(
            "flash_sale_http_requests_total",
            "method" => method, "route" => route.clone(), "status" => status.to_string()
        ),
        duration: histogram!(LATENCY, "method" => method, "route" => route),
        exemplars: exemplars.unwrap_or_default(),
    };
    of_route.insert((method, status), handle.clone());
    handle
}

/// The exemplars by the labels of their histogram and the bound of their bucket, both as the text
/// format writes them.
pub fn exemplars() -> HashMap<(String, String), Exemplar> {
    let (now, wall) = (Instant::now(), SystemTime::now());
    let wall = wall
        .duration_since(SystemTime::UNIX_EPOCH)
        .unwrap_or_default();
    let mut found = HashMap::new();
    for (route, of_route) in &*HANDLES.read() {
        for ((method, _), handle) in of_route {
            for (bucket, slot) in handle.exemplars.iter().enumerate() {
                let Some(noted) = &*slot.lock() else { continue };
                let bound = SECONDS_BUCKETS.get(bucket);
                let bound = bound.map_or("+Inf".to_owned(), f64::to_string);
                let exemplar = Exemplar {
                    request: noted.request.clone(),
                    seconds: noted.took.as_secs_f64(),
                    at: wall.saturating_sub(now.saturating_duration_since(noted.at)),
                };
                let labels = format!("method=\"{method}\",route=\"{route}\"");
                found.insert((labels, bound), exemplar);
            }
        }
    }
    found
}
