//! HTTP/1.1 server: bounded connections, heads and waits, write time-out, graceful shutdown.
//!
//! A connection holds one of the listener's places. Heads that do not arrive and clients that send
//! no request end by time (`serve/activity.rs`), and sooner when the places or the files of the
//! system run out (`serve/places.rs`), so that a request always finds a place. Idle connections have
//! no buffers (`serve/connection.rs`).

use std::{
    net::{IpAddr, SocketAddr},
    sync::Arc,
    time::{Duration, Instant},
};

use axum::Router;
use tokio::{
    net::{TcpListener, TcpStream},
    time::timeout,
};
use tokio_util::task::TaskTracker;

use self::{answer::Answering, places::Places, signal::Signal};
use crate::{
    metrics::connections::{Connections, Listener},
    tasks::Tasks,
};

mod activity;
mod answer;
mod connection;
mod message;
mod places;
mod signal;
mod socket;

/// The largest head of a request, in bytes; also the most that a connection's buffers keep of what
/// was read. A larger head is answered with 431.
const HEAD_MAX: usize = 32 * 1024;
/// Interval of the search for connections whose wait is over, or that are idle.
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
    let connections = TaskTracker::new();
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
        let place = tokio::select! {
            () = tasks.stopped() => break,
            place = places.take() => place,
        };
        let peer = (bounds.peers == Peers::Noted).then(|| Peer(address.ip()));
        let answering = Answering::new(router.clone(), peer, Arc::clone(place.activity()));
        let connection = async move {
            if let Err(error) = connection::serve(stream, answering).await {
                tracing::debug!(%error, "a connection ended early: {error}");
            }
            drop(place);
        };
        tasks.spawn("connection", connections.track_future(connection));
    }
    drop(listener);
    connections.close();
    places.send_all(Signal::Finish);
    // Closes connections that still send a request or do not read their response.
    drop(timeout(bounds.finish_within, connections.wait()).await);
    places.send_all(Signal::Close);
}

async fn accept(listener: &TcpListener) -> std::io::Result<(TcpStream, SocketAddr)> {
    let (stream, address) = listener.accept().await?;
    stream.set_nodelay(true)?;
    Ok((stream, address))
}

async fn watch(places: Arc<Places>, tasks: Tasks) {
    while tasks.pause(WATCH_EVERY).await {
        let now = Instant::now();
        places.close_overdue(now);
        places.park_idle(now);
    }
}
