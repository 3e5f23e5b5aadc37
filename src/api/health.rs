//! HTTP handlers of `/health`, `/health/live` and `/health/ready`: health checks.

use axum::{Json, extract::State, http::StatusCode};
use serde::Serialize;
use utoipa::ToSchema;

use super::{SharedState, auth::provider};
use crate::{
    lock::{self, Lock},
    store,
};

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub(super) enum Condition {
    Up,
    Degraded,
    Down,
    /// The service was told to stop; it still takes orders until it does.
    Draining,
}

#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Health)]
pub(super) struct HealthReport {
    /// `down` means that orders cannot be taken, `degraded` that they can.
    status: Condition,
    database: Condition,
    /// Why it is `down`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(example = "read_only")]
    database_reason: Option<&'static str>,
    /// `degraded` while some lock nodes take no locks or there are none, `down` while no majority
    /// takes them and only the version check in the database protects the stock.
    redis: Condition,
    lock: LockHealth,
    /// Only with `AUTH_JWKS_URL`: `degraded` while the keys of the identity provider are those of an
    /// earlier fetch, `down` before the first one has succeeded.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Condition, required = false)]
    identity_provider: Option<Condition>,
}

#[derive(Debug, Serialize, ToSchema)]
struct LockHealth {
    #[schema(example = "redlock")]
    kind: &'static str,
    nodes: usize,
    nodes_healthy: usize,
    /// The nodes that are out of the lock, and why.
    nodes_out: Vec<NodeOut>,
}

#[derive(Debug, Serialize, ToSchema)]
struct NodeOut {
    /// Its place in `REDIS_LOCK_URLS`, from 1.
    node: usize,
    #[schema(example = "read_only")]
    reason: &'static str,
}

#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Alive {
    status: Condition,
}

/// Report the condition of the service, the database, Redis and the lock
#[utoipa::path(
    get, path = "/health", tag = "health", operation_id = "getHealth",
    responses((status = 200, body = HealthReport, description = "orders can be taken"), (status = 503, body = HealthReport, description = "orders cannot be taken")),
)]
pub(super) async fn health(State(state): State<SharedState>) -> (StatusCode, Json<HealthReport>) {
    let condition = state.store.condition().await;
    let database = database(condition);
    let redis = redis(state.lock.health());
    let identity_provider = identity_provider(&state);
    let status = match (database, redis, identity_provider) {
        (Condition::Up, _, Some(Condition::Down)) => Condition::Down,
        (Condition::Up, Condition::Up, None | Some(Condition::Up)) => Condition::Up,
        (Condition::Up, _, _) => Condition::Degraded,
        _ => Condition::Down,
    };
    let health = HealthReport {
        status,
        database,
        database_reason: reason(condition),
        redis,
        lock: lock_health(&state.lock),
        identity_provider,
    };
    (status_code(status), Json(health))
}

fn lock_health(lock: &Lock) -> LockHealth {
    let lock::Health { nodes, healthy } = lock.health();
    let faults = lock.faults();
    let nodes_out = faults.iter().zip(1..).filter_map(|(fault, node)| {
        let reason = (*fault)?.name();
        Some(NodeOut { node, reason })
    });
    LockHealth {
        kind: if nodes == 0 { "in-process" } else { "redlock" },
        nodes,
        nodes_healthy: healthy,
        nodes_out: nodes_out.collect(),
    }
}

/// Report that the process runs
#[utoipa::path(
    get, path = "/health/live", tag = "health", operation_id = "getLiveness",
    responses((status = 200, body = Alive, description = "the process runs")),
)]
pub(super) async fn live() -> Json<Alive> {
    Json(Alive {
        status: Condition::Up,
    })
}

/// Report whether orders can be taken, and will be: not once the service was told to stop
#[utoipa::path(
    get, path = "/health/ready", tag = "health", operation_id = "getReadiness",
    responses(
        (status = 200, body = Alive, description = "orders can be taken"),
        (status = 503, body = Alive, description = "orders cannot be taken"),
    ),
)]
pub(super) async fn ready(State(state): State<SharedState>) -> (StatusCode, Json<Alive>) {
    let status = if state.tasks.are_draining() {
        Condition::Draining
    } else {
        match identity_provider(&state) {
            // Nobody could sign in: a node that was started so should not replace one that works.
            Some(Condition::Down) => Condition::Down,
            Some(_) | None => database(state.store.condition().await),
        }
    };
    (status_code(status), Json(Alive { status }))
}

fn identity_provider(state: &SharedState) -> Option<Condition> {
    let condition = state.keys.provider()?;
    Some(match condition {
        provider::Condition::Current => Condition::Up,
        provider::Condition::Outdated => Condition::Degraded,
        provider::Condition::Missing => Condition::Down,
    })
}

fn database(condition: store::Condition) -> Condition {
    match condition {
        store::Condition::TakesWrites => Condition::Up,
        store::Condition::OnlyReads | store::Condition::Unreachable => Condition::Down,
    }
}

fn reason(condition: store::Condition) -> Option<&'static str> {
    match condition {
        store::Condition::TakesWrites => None,
        store::Condition::OnlyReads => Some("read_only"),
        store::Condition::Unreachable => Some("unreachable"),
    }
}

/// Without lock nodes the lock is in-process: `degraded`, because it protects one node only.
fn redis(lock: lock::Health) -> Condition {
    if lock.nodes == 0 {
        Condition::Degraded
    } else if !lock.has_quorum() {
        Condition::Down
    } else if lock.healthy < lock.nodes {
        Condition::Degraded
    } else {
        Condition::Up
    }
}

fn status_code(status: Condition) -> StatusCode {
    match status {
        Condition::Up | Condition::Degraded => StatusCode::OK,
        Condition::Down | Condition::Draining => StatusCode::SERVICE_UNAVAILABLE,
    }
}
