//! A listener and its connections: a bounded number, with a limit on how long a request's head
//! may take, and a stop that lets every accepted request be answered.

use std::{sync::Arc, time::Duration};

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
use tokio_util::sync::CancellationToken;

use self::reading::Reading;
use crate::tasks::Tasks;

mod reading;

/// A head that takes longer is not worth its connection; idle connections end with it too.
const HEAD_TIMEOUT: Duration = Duration::from_secs(75);
/// Pause after the system refused a connection, mostly for want of file descriptors.
const ACCEPT_AGAIN: Duration = Duration::from_millis(50);

/// How a listener is bounded.
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
    // Who has not finished sending a request by then, or does not read the answer, is cut off.
    drop(timeout(bounds.finish_within, graceful.shutdown()).await);
    abort.cancel();
}

/// One connection; its head time-out also ends those that say nothing.
///
/// HTTP/1.1 only: browsers speak HTTP/2 to the proxy that ends TLS, and a connection that may turn
/// into either holds twice the memory.
fn connection(
    stream: TcpStream,
    router: Router,
) -> http1::Connection<TokioIo<Reading<TcpStream>>, TowerToHyperService<Router>> {
    http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIMEOUT)
        .serve_connection(
            TokioIo::new(Reading::new(stream)),
            TowerToHyperService::new(router),
        )
}

/// Waits for a place first, so that connections beyond the bound stay in the system's queue.
async fn accept(
    listener: &TcpListener,
    places: &Arc<Semaphore>,
) -> std::io::Result<(TcpStream, Option<tokio::sync::OwnedSemaphorePermit>)> {
    let place = Arc::clone(places).acquire_owned().await.ok();
    let (stream, _) = listener.accept().await?;
    stream.set_nodelay(true)?;
    Ok((stream, place))
}
