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
/// A client that reads nothing for this long loses its connection, so that it cannot keep buffers
/// for ever; a slow network moves something within this time.
const WRITE_TIMEOUT: Duration = Duration::from_secs(10);
/// Pause after the system refused a connection, mostly for want of file descriptors.
const ACCEPT_AGAIN: Duration = Duration::from_millis(50);

/// A client's stream with a write time-out.
type Stream = Pin<Box<TimeoutWriter<TcpStream>>>;

/// The bounds of a listener.
#[derive(Clone, Copy, Debug)]
pub struct Bounds {
    pub connections_max: usize,
    /// How long accepted requests may take once the service stops.
    pub finish_within: Duration,
}

/// Serves until the service stops and every request that was accepted is answered.
pub async fn serve(listener: TcpListener, router: Router, bounds: Bounds, tasks: Tasks) {
    let places = Arc::new(Semaphore::new(bounds.connections_max));
    let graceful = GracefulShutdown::new();
    let abort = CancellationToken::new();
    loop {
        let accepted = tokio::select! {
            () = tasks.stopped() => break,
            accepted = accept(&listener, &places) => accepted,
        };
        let (stream, place) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                tracing::warn!(%error, "cannot accept a connection: {error}");
                tasks.pause(ACCEPT_AGAIN).await;
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
            drop(place);
        });
    }
    drop(listener);
    // Connections that are still sending a request or not reading their response are cut off.
    drop(timeout(bounds.finish_within, graceful.shutdown()).await);
    abort.cancel();
}

/// One connection.
///
/// HTTP/1.1 only: browsers speak HTTP/2 to the proxy that terminates TLS, and a connection that
/// may become either needs twice the memory.
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
    places: &Arc<Semaphore>,
) -> std::io::Result<(TcpStream, Option<tokio::sync::OwnedSemaphorePermit>)> {
    let place = Arc::clone(places).acquire_owned().await.ok();
    let (stream, _) = listener.accept().await?;
    stream.set_nodelay(true)?;
    Ok((stream, place))
}
