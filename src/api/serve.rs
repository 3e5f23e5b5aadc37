//! A listener and its connections: a bounded number, with a limit on how long a request's head
//! may take, and a stop that lets every accepted request be answered.

use std::{sync::Arc, time::Duration};

use axum::Router;
use hyper_util::{
    rt::{TokioExecutor, TokioIo, TokioTimer},
    server::{
        conn::auto,
        graceful::{GracefulShutdown, Watcher},
    },
    service::TowerToHyperService,
};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::Semaphore,
    time::timeout,
};
use tokio_util::sync::CancellationToken;

use crate::tasks::Tasks;

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
        let connection = connection(stream, router.clone(), graceful.watcher(), tasks.clone());
        let abort = abort.clone();
        tasks.spawn("connection", async move {
            tokio::select! {
                () = abort.cancelled() => {}
                () = connection => {}
            }
            drop(place);
        });
    }
    drop(listener);
    // Who has not finished sending a request by then, or does not read the answer, is cut off.
    drop(timeout(bounds.finish_within, graceful.shutdown()).await);
    abort.cancel();
}

/// Serves one connection to its end.
async fn connection(stream: TcpStream, router: Router, watcher: Watcher, tasks: Tasks) {
    // The server looks for the protocol first, without a limit: who connects and says nothing
    // would keep its place for ever.
    let mut first = [0];
    let speaks = timeout(HEAD_TIMEOUT, stream.peek(&mut first));
    tokio::select! {
        spoke = speaks => if !matches!(spoke, Ok(Ok(1..))) { return },
        () = tasks.stopped() => return,
    }
    let mut server = auto::Builder::new(TokioExecutor::new());
    server
        .http1()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIMEOUT);
    server
        .http2()
        .timer(TokioTimer::new())
        .keep_alive_interval(Some(HEAD_TIMEOUT));
    let service = TowerToHyperService::new(router);
    let connection = server.serve_connection(TokioIo::new(stream), service);
    if let Err(error) = watcher.watch(connection.into_owned()).await {
        tracing::debug!(error, "a connection ended early");
    }
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
