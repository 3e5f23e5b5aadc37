//! One connection: its requests, and the time between them.
//!
//! hyper keeps two buffers of 8 KiB and the state of a request for every connection that it serves.
//! A connection without a request is therefore parked: hyper gives the socket back, and only the
//! socket waits for the next bytes.

use std::{future::poll_fn, pin::Pin, sync::Arc, task::Poll};

use futures::future::{Either, select};
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
        match end {
            End::Parked => socket.put_back(parts.read_buf),
            End::Cut => return Ok(()),
            End::Served(served) => {
                socket.close().await;
                return served;
            }
        }
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
    let closed = poll_fn(|context| match activity.signal(context) {
        Some(Signal::Close | Signal::Finish) => Poll::Ready(()),
        Some(Signal::Park) | None => Poll::Pending,
    });
    let readable = std::pin::pin!(socket.readable());
    matches!(select(readable, closed).await, Either::Left(_))
}

/// Serves requests until the connection ends or is idle. What has arrived before a signal counts.
async fn serve_requests(http: &mut Http, activity: &Activity) -> End {
    poll_fn(|context| {
        if let Poll::Ready(served) = Pin::new(&mut *http).poll(context) {
            return Poll::Ready(End::Served(served));
        }
        let signal = activity.signal(context);
        match signal {
            None => return Poll::Pending,
            Some(Signal::Close) => return Poll::Ready(End::Cut),
            Some(Signal::Finish | Signal::Park) => Pin::new(&mut *http).graceful_shutdown(),
        }
        let ended = Pin::new(&mut *http).poll(context);
        ended.map(|served| match served {
            Ok(()) if signal == Some(Signal::Park) => End::Parked,
            served => End::Served(served),
        })
    })
    .await
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use axum::{Router, routing::get};
    use tokio::{
        io::{AsyncReadExt, AsyncWriteExt},
        net::TcpListener,
        task::JoinHandle,
        time::timeout,
    };

    use super::*;

    const SOON: Duration = Duration::from_secs(10);
    const REQUEST: &str = "GET / HTTP/1.1\r\nHost: shop\r\n\r\n";

    struct Client {
        stream: TcpStream,
        activity: Arc<Activity>,
        served: JoinHandle<hyper::Result<()>>,
    }

    impl Client {
        async fn connect() -> Self {
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            let address = listener.local_addr().unwrap();
            let stream = TcpStream::connect(address).await.unwrap();
            let (accepted, _) = listener.accept().await.unwrap();
            let activity = Arc::new(Activity::new(Instant::now()));
            let router = Router::new().route("/", get(async || "sold"));
            let answering = Answering::new(router, None, Arc::clone(&activity));
            #[expect(clippy::disallowed_methods, reason = "a test waits for it")]
            let served = tokio::spawn(serve(accepted, answering));
            Self {
                stream,
                activity,
                served,
            }
        }

        async fn send(&mut self, bytes: &str) {
            self.stream.write_all(bytes.as_bytes()).await.unwrap();
        }

        /// Reads until so many answers have come.
        async fn answers(&mut self, count: usize) {
            let mut read = String::new();
            while read.matches("sold").count() < count {
                let mut buffer = [0; 1024];
                let length = timeout(SOON, self.stream.read(&mut buffer)).await.unwrap();
                let bytes = buffer.get(..length.unwrap()).unwrap();
                assert!(!bytes.is_empty(), "closed after {read}");
                read.push_str(std::str::from_utf8(bytes).unwrap());
            }
            assert_eq!(read.matches("200 OK").count(), count, "{read}");
            assert!(!read.contains("connection: close"), "{read}");
        }

        async fn until(&self, what: &str, holds: impl Fn(&Activity) -> bool) {
            let held = async {
                while !holds(&self.activity) {
                    tokio::task::yield_now().await;
                }
            };
            timeout(SOON, held).await.expect(what);
        }

        async fn parked() -> Self {
            let mut client = Self::connect().await;
            client.send(REQUEST).await;
            client.answers(1).await;
            let is_idle = |activity: &Activity| activity.is_idle(Instant::now());
            client.until("it is idle", is_idle).await;
            client.activity.send(Signal::Park);
            client.until("it is parked", Activity::is_parked).await;
            client
        }
    }

    #[tokio::test]
    async fn a_parked_connection_serves_the_next_requests() {
        let mut client = Client::parked().await;
        client.send(&REQUEST.repeat(3)).await;
        client.answers(3).await;
        client.send(REQUEST).await;
        client.answers(1).await;
        let is_idle = |activity: &Activity| activity.is_idle(Instant::now());
        client.until("it is idle again", is_idle).await;
    }

    #[tokio::test]
    async fn a_parked_connection_serves_a_request_that_comes_in_parts() {
        let mut client = Client::parked().await;
        let (first, second) = REQUEST.split_at(20);
        client.send(first).await;
        client
            .until("the head has begun", |activity| !activity.is_parked())
            .await;
        client.activity.send(Signal::Park);
        client.send(second).await;
        client.answers(1).await;
    }

    #[tokio::test]
    async fn a_parked_connection_ends_when_it_is_to_finish_or_its_client_leaves() {
        let client = Client::parked().await;
        client.activity.send(Signal::Finish);
        timeout(SOON, client.served)
            .await
            .unwrap()
            .unwrap()
            .unwrap();

        let client = Client::parked().await;
        drop(client.stream);
        timeout(SOON, client.served)
            .await
            .unwrap()
            .unwrap()
            .unwrap();
    }
}
