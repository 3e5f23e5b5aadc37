//! The fault `flood_streams`: opens twice as many anonymous event streams as the service has
//! connections, keeps them open, and probes whether new connections are still answered.

use std::{
    net::SocketAddr,
    time::{Duration, Instant},
};

use anyhow::Context;
use axum::http::HeaderValue;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    task::JoinSet,
    time::timeout,
};

use crate::{client::Address, driver::requests::Load, service::Service};

/// How long the streams stay open.
const LASTS: Duration = Duration::from_secs(3);
const PROBE_EVERY: Duration = Duration::from_millis(100);
/// As long as the service may take to answer a request.
const ANSWER_WITHIN: Duration = Duration::from_secs(6);
/// Longer than any head of an answer.
const HEAD_MAX: usize = 4_096;

/// What became of the streams, and of the probes beside them.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Flood {
    pub(crate) opened: u64,
    /// 503: a bound was reached.
    pub(crate) refused: u64,
    /// Any other answer, or none in time.
    pub(crate) failed: u64,
    pub(crate) probes: u64,
    pub(crate) unanswered: u64,
}

/// An answer's status and its connection, which a stream keeps open.
type Answer = (u16, TcpStream);

/// Floods the first node with twice `connections_max` streams.
pub(super) async fn flood(
    service: &Service,
    load: &Load,
    connections_max: u32,
    report: &impl Fn(String),
) -> anyhow::Result<Flood> {
    let node = service.first()?.api.clone();
    let product = load.offers.first().context("no product")?.id;
    let path = format!("/products/{product}/events");
    let mut opening = JoinSet::new();
    for _ in 0..connections_max.saturating_mul(2) {
        let call = get(&node, &path);
        let socket = node.socket;
        opening.spawn(async move { answer(socket, call).await });
    }
    report(format!("{} event streams requested", opening.len()));
    let mut flood = Flood::default();
    let mut streams = Vec::new();
    while let Some(opened) = opening.join_next().await {
        match opened.ok().flatten() {
            Some((200, stream)) => {
                flood.opened += 1;
                streams.push(stream);
            }
            Some((503, _)) => flood.refused += 1,
            Some(_) | None => flood.failed += 1,
        }
    }
    report(format!(
        "{} streams open, {} refused",
        flood.opened, flood.refused
    ));
    let end = Instant::now() + LASTS;
    while Instant::now() < end {
        flood.probes += 1;
        let probed = answer(node.socket, get(&node, "/health/live")).await;
        if !matches!(probed, Some((200, _))) {
            flood.unanswered += 1;
        }
        tokio::time::sleep(PROBE_EVERY).await;
    }
    drop(streams);
    report("streams closed".to_owned());
    Ok(flood)
}

fn get(node: &Address, path: &str) -> String {
    let host = HeaderValue::to_str(&node.host).unwrap_or_default();
    format!("GET {path} HTTP/1.1\r\nHost: {host}\r\n\r\n")
}

/// Sends a request on a new connection and reads the head of its answer.
async fn answer(socket: SocketAddr, call: String) -> Option<Answer> {
    let asking = async {
        let mut stream = TcpStream::connect(socket).await.ok()?;
        stream.write_all(call.as_bytes()).await.ok()?;
        let mut head = Vec::new();
        while !head.windows(4).any(|end| end == b"\r\n\r\n") && head.len() < HEAD_MAX {
            if stream.read_buf(&mut head).await.ok()? == 0 {
                return None;
            }
        }
        let head = String::from_utf8_lossy(&head);
        let status = head.split_whitespace().nth(1)?.parse().ok()?;
        Some((status, stream))
    };
    timeout(ANSWER_WITHIN, asking).await.ok().flatten()
}
