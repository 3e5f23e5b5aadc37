//! Starts real processes for the tests and `contention`, and ends them with their owner.
//!
//! It contains no oracle: each test suite and `contention` define on their own what an answer or
//! the database must look like, so that one finds a mistake in the other.

/// A headless browser.
pub mod browser;
/// The queries of Grafana dashboards.
pub mod dashboards;
/// An HTTP client for tests.
pub mod http;
/// The text of `/metrics`.
pub mod metrics;
/// A private PostgreSQL.
pub mod postgres;
/// Child processes and the process table.
pub mod process;
/// A private Prometheus.
pub mod prometheus;
/// Service processes.
pub mod service;
/// Signed tokens.
pub mod tokens;
/// Waiting for a condition.
pub mod wait;

use std::{io, net::TcpListener};

/// Below the port range of outgoing connections.
const PORTS: std::ops::Range<u16> = 10_000..20_000;
const TRIES_MAX: usize = 1_000;

/// A port on which nothing listens.
pub fn free_port() -> io::Result<u16> {
    std::iter::repeat_with(|| rand::random_range(PORTS))
        .take(TRIES_MAX)
        .find(|port| TcpListener::bind(("127.0.0.1", *port)).is_ok())
        .ok_or_else(|| io::Error::from(io::ErrorKind::AddrInUse))
}
