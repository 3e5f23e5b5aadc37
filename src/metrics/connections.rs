//! Metrics of connections, event streams, and the bounds of client addresses.

use metrics::{Counter, Gauge, counter, describe_counter, describe_gauge, gauge};
use strum::{EnumIter, IntoEnumIterator, IntoStaticStr};

/// A listener, as the label `listener`.
#[derive(Clone, Copy, Debug, EnumIter, IntoStaticStr)]
#[strum(serialize_all = "snake_case")]
pub enum Listener {
    Api,
    Operations,
}

/// Why the service closed a connection, as the label `reason`.
#[derive(Clone, Copy, Debug, EnumIter, IntoStaticStr, PartialEq, Eq)]
#[strum(serialize_all = "snake_case")]
pub enum Cut {
    /// No whole head in time.
    Silent,
    /// No further request in time.
    Idle,
    /// It waited while all places were taken.
    Evicted,
}

/// The bound that refused a stream, as the label `bound`.
#[derive(Clone, Copy, Debug, EnumIter, IntoStaticStr, PartialEq, Eq)]
#[strum(serialize_all = "snake_case")]
pub enum StreamBound {
    /// `STREAMS_MAX`.
    Node,
    /// `STREAMS_PER_USER_MAX`.
    User,
    /// `STREAMS_PER_ADDRESS_MAX`.
    Address,
}

const ADDRESS_LIMITED: &str = "flash_sale_address_rate_limited_total";

pub(super) fn init() {
    describe_gauge!(
        "flash_sale_connections",
        "Open connections, by listener: api, operations."
    );
    describe_gauge!(
        "flash_sale_connections_max",
        "Connections that a listener serves at once: CONNECTIONS_MAX, or what the limit of open files has room for; 64 of operators."
    );
    describe_counter!(
        "flash_sale_connections_closed_total",
        "Connections that the service closed, by reason: silent (no whole head in time), idle (no further request in time), evicted (waited, for a request or for its client, while all places were taken)."
    );
    describe_gauge!("flash_sale_streams", "Open event streams.");
    describe_gauge!(
        "flash_sale_streams_max",
        "Event streams that this node serves at once: STREAMS_MAX."
    );
    describe_counter!(
        "flash_sale_streams_refused_total",
        "Event streams that were refused, by bound: node, user, address."
    );
    describe_counter!(
        ADDRESS_LIMITED,
        "Requests that were refused by the rate limit of their client's address."
    );
    counter!(ADDRESS_LIMITED).absolute(0);
    for bound in StreamBound::iter() {
        refused(bound).absolute(0);
    }
    streams().set(0.0);
}

/// The metric handles of one listener.
#[derive(Clone)]
pub struct Connections {
    listener: Listener,
    pub open: Gauge,
}

impl std::fmt::Debug for Connections {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Connections")
            .field("listener", &self.listener)
            .finish_non_exhaustive()
    }
}

impl Connections {
    /// Sets its bound and starts its counters at 0.
    pub fn of(listener: Listener, max: usize) -> Self {
        let name: &'static str = listener.into();
        let max = u32::try_from(max).unwrap_or(u32::MAX);
        gauge!("flash_sale_connections_max", "listener" => name).set(max);
        let connections = Self {
            listener,
            open: gauge!("flash_sale_connections", "listener" => name),
        };
        connections.open.set(0.0);
        for cut in Cut::iter() {
            connections.closed(cut).absolute(0);
        }
        connections
    }

    pub fn cut(&self, cut: Cut) {
        self.closed(cut).increment(1);
    }

    fn closed(&self, cut: Cut) -> Counter {
        let listener: &'static str = self.listener.into();
        let reason: &'static str = cut.into();
        counter!("flash_sale_connections_closed_total", "listener" => listener, "reason" => reason)
    }
}

/// The number of open event streams.
pub fn streams() -> Gauge {
    gauge!("flash_sale_streams")
}

pub fn streams_max(max: u32) {
    gauge!("flash_sale_streams_max").set(max);
}

pub fn address_limited() {
    counter!(ADDRESS_LIMITED).increment(1);
}

pub fn stream_refused(bound: StreamBound) {
    refused(bound).increment(1);
}

fn refused(bound: StreamBound) -> Counter {
    let bound: &'static str = bound.into();
    counter!("flash_sale_streams_refused_total", "bound" => bound)
}
