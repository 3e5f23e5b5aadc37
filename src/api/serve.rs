//! HTTP/1.1 server: bounded connections, head and write time-outs, graceful shutdown.

use std::{pin::Pin, sync::Arc, time::Duration};

use axum::Router;
use hyper::server::conn::http1;
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    server::graceful::GracefulShutdown,
    service::TowerToHyperService,
};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::Semaphore,
    time::timeout,
};
use tokio_io_timeout::TimeoutWriter;
use tokio_util::sync::CancellationToken;

use crate::tasks::Tasks;

/// Time limit for a request's head; it ends idle connections too.
const HEAD_TIMEOUT: Duration = Duration::from_secs(75);
/// A connection whose client reads nothing for this long is closed, which frees its buffers; even
/// a slow network transfers some bytes within this time.
const WRITE_TIMEOUT: Duration = Duration::from_secs(10);
/// Pause after a failed `accept`, mostly because no file descriptor is left.
const ACCEPT_RETRY_PAUSE: Duration = Duration::from_millis(50);

/// A client's stream with a write time-out.
type Stream = Pin<Box<TimeoutWriter<TcpStream>>>;

/// The bounds of a listener.
#[derive(Clone, Copy, Debug)]
pub struct Bounds {
    pub connections_max: usize,
    /// How long accepted requests may take after the stop signal.
    pub finish_within: Duration,
}

/// Serves until the service stops and every accepted request is answered.
pub async fn serve(listener: TcpListener, router: Router, bounds: Bounds, tasks: Tasks) {
    let permits = Arc::new(Semaphore::new(bounds.connections_max));
    let graceful = GracefulShutdown::new();
    let abort = CancellationToken::new();
    loop {
        let accepted = tokio::select! {
            () = tasks.stopped() => break,
            accepted = accept(&listener, &permits) => accepted,
        };
        let (stream, permit) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                tracing::warn!(%error, "cannot accept a connection: {error}");
                tasks.pause(ACCEPT_RETRY_PAUSE).await;
                continue;
            }
        };
        let connection = graceful.watch(connection(stream, router.clone()));
        let abort = abort.clone();
        tasks.spawn("connection", async move {
            tokio::select! {
                () = abort.cancelled() => {}
                ended = connection => if let Err(error) = ended {
                    tracing::debug!(%error, "a connection ended early: {error}");
                },
            }
            drop(permit);
        });
    }
    drop(listener);
    // Closes connections that still send a request or do not read their response.
    drop(timeout(bounds.finish_within, graceful.shutdown()).await);
    abort.cancel();
}

/// One connection.
///
/// HTTP/1.1 only: browsers use HTTP/2 to the proxy that terminates TLS, and a connection that
/// supports both needs twice the memory.
fn connection(
    stream: TcpStream,
    router: Router,
) -> http1::Connection<TokioIo<Stream>, TowerToHyperService<Router>> {
    let mut stream = TimeoutWriter::new(stream);
    stream.set_timeout(Some(WRITE_TIMEOUT));
    http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIMEOUT)
        .serve_connection(
            TokioIo::new(Box::pin(stream)),
            TowerToHyperService::new(router),
        )
}

/// Acquires a permit first, so that connections beyond the bound stay in the kernel's queue.
async fn accept(
    listener: &TcpListener,
    permits: &Arc<Semaphore>,
) -> std::io::Result<(TcpStream, Option<tokio::sync::OwnedSemaphorePermit>)> {
    let permit = Arc::clone(permits).acquire_owned().await.ok();
    let (stream, _) = listener.accept().await?;
    stream.set_nodelay(true)?;
    Ok((stream, permit))
}
