//! HTTP/1.1 server: bounded connections, heads and waits, write time-out, graceful shutdown.
//!
//! A connection holds one of the listener's places. Heads that do not arrive and clients that send
//! no request end by time (`serve/activity.rs`), and sooner when the places or the files of the
//! system run out (`serve/places.rs`), so that a request always finds a place.

use std::{
    net::{IpAddr, SocketAddr},
    sync::Arc,
    time::{Duration, Instant},
};

use axum::Router;
use futures::future::Abortable;
use hyper::server::conn::http1;
use hyper_util::{rt::TokioIo, server::graceful::GracefulShutdown};
use tokio::{
    net::{TcpListener, TcpStream},
    time::timeout,
};

use self::{answer::Answering, places::Places, socket::Socket};
use crate::{
    metrics::connections::{Connections, Listener},
    tasks::Tasks,
};

mod activity;
mod answer;
mod places;
mod socket;

/// The largest head of a request, in bytes; also the most that a connection's buffers keep of what
/// was read. A larger head is answered with 431.
const HEAD_MAX: usize = 32 * 1024;
/// Interval of the search for connections whose wait is over.
const WATCH_EVERY: Duration = Duration::from_millis(500);
/// ENFILE and EMFILE: no file descriptor is left, of the system or of the process.
const NO_FILE: [i32; 2] = [23, 24];
/// Pause after a failed `accept`, mostly because no file descriptor is left.
const ACCEPT_RETRY_PAUSE: Duration = Duration::from_millis(50);

/// The bounds of a listener.
#[derive(Clone, Copy, Debug)]
pub struct Bounds {
    pub listener: Listener,
    pub connections_max: usize,
    /// How long accepted requests may take after the stop signal.
    pub finish_within: Duration,
    pub peers: Peers,
}

/// Whether requests carry the address of their connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Peers {
    /// As the extension `Peer`, for bounds per address.
    Noted,
    /// No extension, which would cost every request an allocation.
    Ignored,
}

/// The address at the other end of a request's connection.
#[derive(Clone, Copy, Debug)]
pub(super) struct Peer(pub(super) IpAddr);

/// Serves until the service stops and every accepted request is answered.
pub async fn serve(listener: TcpListener, router: Router, bounds: Bounds, tasks: Tasks) {
    let graceful = GracefulShutdown::new();
    let metrics = Connections::of(bounds.listener, bounds.connections_max);
    let places = Places::new(bounds.connections_max, metrics);
    tasks.spawn(
        "connection watch",
        watch(Arc::clone(&places), tasks.clone()),
    );
    loop {
        let accepted = tokio::select! {
            () = tasks.stopped() => break,
            accepted = accept(&listener) => accepted,
        };
        let (stream, address) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                tracing::warn!(%error, "cannot accept a connection: {error}");
                if error
                    .raw_os_error()
                    .is_some_and(|code| NO_FILE.contains(&code))
                {
                    places.make_room(Instant::now());
                }
                tasks.pause(ACCEPT_RETRY_PAUSE).await;
                continue;
            }
        };
        let (place, cut) = tokio::select! {
            () = tasks.stopped() => break,
            taken = places.take() => taken,
        };
        let peer = (bounds.peers == Peers::Noted).then(|| Peer(address.ip()));
        let answering = Answering::new(router.clone(), peer, Arc::clone(place.activity()));
        let connection = graceful.watch(connection(stream, answering));
        tasks.spawn("connection", async move {
            if let Ok(Err(error)) = Abortable::new(connection, cut).await {
                tracing::debug!(%error, "a connection ended early: {error}");
            }
            drop(place);
        });
    }
    drop(listener);
    // Closes connections that still send a request or do not read their response.
    drop(timeout(bounds.finish_within, graceful.shutdown()).await);
    places.close_all();
}

/// One connection.
///
/// HTTP/1.1 only: browsers use HTTP/2 to the proxy that terminates TLS, and a connection that
/// supports both needs twice the memory. hyper's own time-out for heads is off: it does not tell a
/// client that sends half a head from one that keeps its connection for the next request.
fn connection(
    stream: TcpStream,
    answering: Answering,
) -> http1::Connection<TokioIo<Socket>, Answering> {
    let socket = Socket::new(stream, Arc::clone(answering.activity()));
    http1::Builder::new()
        .header_read_timeout(None)
        .max_header_size(HEAD_MAX)
        .max_buf_size(HEAD_MAX)
        .serve_connection(TokioIo::new(socket), answering)
}

async fn accept(listener: &TcpListener) -> std::io::Result<(TcpStream, SocketAddr)> {
    let (stream, address) = listener.accept().await?;
    stream.set_nodelay(true)?;
    Ok((stream, address))
}

async fn watch(places: Arc<Places>, tasks: Tasks) {
    while tasks.pause(WATCH_EVERY).await {
        places.close_overdue(Instant::now());
    }
}
