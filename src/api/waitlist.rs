//! HTTP handlers of `/products/{id}/waitlist`: read or leave the caller's place.

use axum::{
    Json,
    extract::{Request, State},
    http::{HeaderMap, StatusCode},
};

use super::{SharedState, extract::PathId, observe::Began, problem::Problem};
use crate::domain::{Code, WaitlistEntry};

/// Read the caller's place on a product's waitlist
#[utoipa::path(
    get, path = "/products/{id}/waitlist", tag = "waitlist", params(("id" = Uuid, Path)),
    operation_id = "getPlace", security(("token" = [])),
    responses((status = 200, body = WaitlistEntry, description = "the place")),
    extensions(("x-codes" = json!([Code::NotWaiting]))),
)]
pub(super) async fn get(
    State(state): State<SharedState>,
    id: PathId,
    headers: HeaderMap,
) -> Result<Json<WaitlistEntry>, Problem> {
    let user = state.keys.user(&headers).await?;
    let product = id.or(Problem::NotWaiting)?;
    let place = state.store.waiting_entry(product, &user.id).await?;
    place.map(Json).ok_or(Problem::NotWaiting)
}

/// Leave a product's waitlist
#[utoipa::path(
    delete, path = "/products/{id}/waitlist", tag = "waitlist", params(("id" = Uuid, Path)),
    operation_id = "leaveWaitlist", security(("token" = [])),
    responses((status = 204, description = "the place is given up")),
    extensions(("x-codes" = json!([Code::NotWaiting, Code::HighDemand, Code::OutcomeUnknown]))),
)]
pub(super) async fn leave(
    State(state): State<SharedState>,
    id: PathId,
    request: Request,
) -> Result<StatusCode, Problem> {
    let began = Began::of(&request);
    let user = state.keys.user(request.headers()).await?;
    let product = id.or(Problem::NotWaiting)?;
    // Most callers no longer have a place, and a read is cheaper than a command to the lane.
    if state
        .store
        .waiting_entry(product, &user.id)
        .await?
        .is_none()
    {
        return Err(Problem::NotWaiting);
    }
    if state.sequencer.leave(product, user.id, began).await? {
        Ok(StatusCode::NO_CONTENT)
    } else {
        Err(Problem::NotWaiting)
    }
}
