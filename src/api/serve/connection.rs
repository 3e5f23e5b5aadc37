//! One connection: its requests, and the time between them.
//!
//! hyper keeps two buffers of 8 KiB and the state of a request for every connection that it serves.
//! A connection without a request is therefore parked: hyper gives the socket back, and only the
//! socket waits for the next bytes.

use std::{future::poll_fn, pin::Pin, sync::Arc, task::Poll};

use hyper::server::conn::http1;
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;

use super::{HEAD_MAX, activity::Activity, answer::Answering, signal::Signal, socket::Socket};

type Http = http1::Connection<TokioIo<Socket>, Answering>;

/// Why hyper has given a connection back.
enum End {
    /// It is idle.
    Parked,
    /// It is to be closed at once.
    Cut,
    /// The client or the service ended it.
    Served(hyper::Result<()>),
}

/// Serves a connection until it ends.
///
/// # Errors
/// When the client broke the connection or the protocol.
pub(super) async fn serve(stream: TcpStream, mut answering: Answering) -> hyper::Result<()> {
    let activity = Arc::clone(answering.activity());
    let mut socket = Socket::new(stream, Arc::clone(&activity));
    while receives(&socket, &activity).await {
        let mut http = Box::new(http(socket, answering));
        let end = serve_requests(&mut http, &activity).await;
        let parts = http.into_parts();
        socket = parts.io.into_inner();
        answering = parts.service;
        let served = match end {
            // Empty lines between two requests belong to none.
            End::Parked if parts.read_buf.iter().all(|byte| b"\r\n".contains(byte)) => continue,
            End::Parked => Ok(()),
            End::Cut => return Ok(()),
            End::Served(served) => served,
        };
        socket.close().await;
        return served;
    }
    Ok(())
}

/// HTTP/1.1 only: browsers use HTTP/2 to the proxy that terminates TLS, and a connection that
/// supports both needs twice the memory. hyper's own time-out for heads is off: it does not tell a
/// client that sends half a head from one that keeps its connection for the next request.
fn http(socket: Socket, answering: Answering) -> Http {
    http1::Builder::new()
        .header_read_timeout(None)
        .max_header_size(HEAD_MAX)
        .max_buf_size(HEAD_MAX)
        .serve_connection(TokioIo::new(socket), answering)
}

/// Waits for bytes of the client, or for its end; false if the connection is to be closed before.
async fn receives(socket: &Socket, activity: &Activity) -> bool {
    let mut readable = std::pin::pin!(socket.readable());
    poll_fn(|context| {
        if activity.is_to_close(context) {
            return Poll::Ready(false);
        }
        if readable.as_mut().poll(context).is_ready() {
            return Poll::Ready(true);
        }
        match activity.signal() {
            Some(Signal::Close | Signal::Finish) => Poll::Ready(false),
            Some(Signal::Park) | None => Poll::Pending,
        }
    })
    .await
}

/// Serves requests until the connection ends or is idle. What arrives before it is to park or to
/// finish counts; a connection that is to close begins no request.
async fn serve_requests(http: &mut Http, activity: &Activity) -> End {
    let mut finishes = false;
    poll_fn(|context| {
        if activity.is_to_close(context) {
            return Poll::Ready(End::Cut);
        }
        if let Poll::Ready(served) = Pin::new(&mut *http).poll(context) {
            return Poll::Ready(End::Served(served));
        }
        let parks = match activity.signal() {
            None => return Poll::Pending,
            Some(Signal::Close) => return Poll::Ready(End::Cut),
            // Told twice, hyper may leave out the rest of an answer.
            Some(Signal::Finish) if std::mem::replace(&mut finishes, true) => return Poll::Pending,
            Some(signal) => signal == Signal::Park,
        };
        Pin::new(&mut *http).graceful_shutdown();
        let ended = Pin::new(&mut *http).poll(context);
        ended.map(|served| match served {
            Ok(()) if parks => End::Parked,
            served => End::Served(served),
        })
    })
    .await
}

#[cfg(test)]
mod tests;
