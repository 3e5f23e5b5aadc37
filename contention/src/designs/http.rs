//! HTTP server of the designs: the service's own server, without its middleware.

use std::{
    io::{self, Write},
    sync::Arc,
    time::Duration,
};

use axum::{
    Json, Router,
    extract::State,
    http::StatusCode,
    response::{IntoResponse, Response},
    routing::{get, post},
};
use flash_sale::{api::serve, domain::Code, metrics::connections::Listener, tasks::Tasks};
use serde_json::json;
use tokio::{
    net::TcpListener,
    signal::unix::{SignalKind, signal},
};

use super::{
    command::{OrderCommand, OrderReply},
    naive::Naive,
    row_lock::RowLock,
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
    RowLock(RowLock),
    SingleStatement(SingleStatement),
}

impl Baseline {
    async fn place(&self, command: OrderCommand) -> anyhow::Result<OrderReply> {
        match self {
            Self::Naive(design) => design.place(command).await,
            Self::RowLock(design) => design.place(command).await,
            Self::SingleStatement(design) => design.place(command).await,
        }
    }
}

/// Serves until the process receives SIGTERM; prints its address on standard output.
pub(super) async fn run(
    listener: TcpListener,
    design: Baseline,
    tasks: &Tasks,
) -> anyhow::Result<()> {
    let address = listener.local_addr()?;
    start(listener, design, tasks);
    writeln!(io::stdout(), "listening on http://{address}")?;
    let mut terminate = signal(SignalKind::terminate())?;
    tokio::select! {
        _ = terminate.recv() => {}
        () = tasks.stopped() => {}
    }
    tasks.stop();
    anyhow::ensure!(tasks.drained(STOP_WITHIN).await, "did not stop in time");
    anyhow::ensure!(!tasks.failed(), "a task failed");
    Ok(())
}

fn start(listener: TcpListener, design: Baseline, tasks: &Tasks) {
    let router = Router::new()
        .route("/orders", post(place))
        .route("/health/live", get(async || "up"))
        .with_state(Arc::new(design));
    let serving = serve::serve(listener, router, BOUNDS, tasks.clone());
    tasks.spawn("listener", serving);
}

async fn place(State(design): State<Arc<Baseline>>, Json(command): Json<OrderCommand>) -> Response {
    match design.place(command).await {
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
