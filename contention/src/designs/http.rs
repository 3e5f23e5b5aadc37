//! The HTTP side of every design: the service's own server with nothing around the handler.

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
use flash_sale::{api::serve, tasks::Tasks};
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
    connections_max: 20_000,
    finish_within: Duration::from_secs(5),
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
    anyhow::ensure!(tasks.drained(STOP_WITHIN).await, "did not end in time");
    anyhow::ensure!(!tasks.failed(), "a task died");
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
        Ok(OrderReply::SoldOut) => refusal(StatusCode::CONFLICT, "sold_out"),
        Ok(OrderReply::HighDemand) => refusal(StatusCode::BAD_REQUEST, "high_demand"),
        Err(error) => {
            // The benchmark takes any such line for a failure.
            drop(writeln!(io::stderr(), "error: {error:#}"));
            refusal(StatusCode::INTERNAL_SERVER_ERROR, "internal")
        }
    }
}

fn refusal(status: StatusCode, code: &str) -> Response {
    (status, Json(json!({ "code": code }))).into_response()
}
