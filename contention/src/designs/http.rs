//! HTTP server of the designs: the service's own server, without its middleware.

use std::{
    io::{self, Write},
    sync::Arc,
    time::Duration,
};

use axum::{
    Json, Router,
    extract::State,
    http::{HeaderMap, StatusCode},
    response::{IntoResponse, Response},
    routing::{get, post},
};
use flash_sale::{
    api::{auth::Keys, serve},
    domain::Code,
    metrics::connections::Listener,
    tasks::Tasks,
};
use serde_json::json;
use tokio::{
    net::TcpListener,
    signal::unix::{SignalKind, signal},
};

use super::{
    command::{OrderCommand, OrderReply, OrderRequest},
    database_lock::DatabaseLock,
    decrement::Decrement,
    naive::Naive,
    skip_locked::SkipLocked,
    statement::SingleStatement,
};

/// The service's own defaults.
const BOUNDS: serve::Bounds = serve::Bounds {
    listener: Listener::Api,
    connections_max: 20_000,
    finish_within: Duration::from_secs(5),
    peers: serve::Peers::Ignored,
};
const STOP_WITHIN: Duration = Duration::from_secs(10);

/// The designs to choose from.
#[derive(Debug)]
pub(super) enum Baseline {
    Naive(Naive),
    DatabaseLock(DatabaseLock),
    SingleStatement(SingleStatement),
    SkipLocked(SkipLocked),
    Decrement(Box<Decrement>),
}

impl Baseline {
    async fn place(&self, command: OrderCommand) -> anyhow::Result<OrderReply> {
        match self {
            Self::Naive(design) => design.place(command).await,
            Self::DatabaseLock(design) => design.place(command).await,
            Self::SingleStatement(design) => design.place(command).await,
            Self::SkipLocked(design) => design.place(command).await,
            Self::Decrement(design) => design.place(command).await,
        }
    }

    /// Writes what the design has not written yet.
    async fn finish(&self) -> anyhow::Result<()> {
        match self {
            Self::Naive(_) | Self::DatabaseLock(_) | Self::SingleStatement(_) => Ok(()),
            Self::SkipLocked(design) => design.finish().await,
            Self::Decrement(design) => design.finish().await,
        }
    }
}

/// A design, and the keys of its buyers' tokens; without keys nobody is asked for a token.
#[derive(Debug)]
pub(super) struct Shop {
    pub(super) design: Baseline,
    pub(super) keys: Option<Keys>,
}

/// Serves until the process receives SIGTERM; prints its address on standard output.
pub(super) async fn run(listener: TcpListener, shop: Shop, tasks: &Tasks) -> anyhow::Result<()> {
    let address = listener.local_addr()?;
    let shop = Arc::new(shop);
    start(listener, Arc::clone(&shop), tasks);
    writeln!(io::stdout(), "listening on http://{address}")?;
    let mut terminate = signal(SignalKind::terminate())?;
    tokio::select! {
        _ = terminate.recv() => {}
        () = tasks.stopped() => {}
    }
    tasks.stop();
    anyhow::ensure!(tasks.drained(STOP_WITHIN).await, "did not stop in time");
    anyhow::ensure!(!tasks.failed(), "a task failed");
    shop.design.finish().await
}

fn start(listener: TcpListener, shop: Arc<Shop>, tasks: &Tasks) {
    let router = Router::new()
        .route("/orders", post(place))
        .route("/health/live", get(async || "up"))
        .with_state(shop);
    let serving = serve::serve(listener, router, BOUNDS, tasks.clone());
    tasks.spawn("listener", serving);
}

async fn place(
    State(shop): State<Arc<Shop>>,
    headers: HeaderMap,
    Json(request): Json<OrderRequest>,
) -> Response {
    let buyer = match &shop.keys {
        Some(keys) => match keys.known_user(&headers) {
            Some(user) => Some(user.id),
            None => return refusal(Code::Unauthenticated),
        },
        None => None,
    };
    match shop.design.place(request.of(buyer)).await {
        Ok(OrderReply::Created(order)) => (StatusCode::CREATED, Json(order)).into_response(),
        Ok(OrderReply::SoldOut) => refusal(Code::SoldOut),
        Ok(OrderReply::HighDemand) => refusal(Code::HighDemand),
        Err(error) => {
            // The benchmark treats any such line as a failure.
            drop(writeln!(io::stderr(), "error: {error:#}"));
            refusal(Code::Internal)
        }
    }
}

fn refusal(code: Code) -> Response {
    let status = StatusCode::from_u16(code.status()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    (status, Json(json!({ "code": code }))).into_response()
}
