//! Starts the real parts that the tests and `contention` need, and ends them with their owner.
//!
//! No oracle lives here: what an answer or the database must look like is decided by each test
//! suite and by `contention` on their own, so that a mistake in one is found by the other.

/// A headless browser.
pub mod browser;
/// An HTTP client for tests.
pub mod http;
/// The text of `/metrics`.
pub mod metrics;
/// A private PostgreSQL.
pub mod postgres;
/// Child processes and the process table.
pub mod process;
/// Service processes.
pub mod service;
/// Signed tokens.
pub mod tokens;
/// Waiting for a condition.
pub mod wait;

use std::{io, net::TcpListener};

/// Below the range that outgoing connections take their ports from.
const PORTS: std::ops::Range<u16> = 10_000..20_000;
const TRIES_MAX: usize = 1_000;

/// A port on which nothing listens.
pub fn free_port() -> io::Result<u16> {
    std::iter::repeat_with(|| rand::random_range(PORTS))
        .take(TRIES_MAX)
        .find(|port| TcpListener::bind(("127.0.0.1", *port)).is_ok())
        .ok_or_else(|| io::Error::from(io::ErrorKind::AddrInUse))
}
