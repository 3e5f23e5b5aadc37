//! `/products/{id}/waitlist`: one's own place, and how to leave it.

use axum::{
    Json,
    extract::{Request, State},
    http::{HeaderMap, StatusCode},
};

use super::{
    Shared,
    extract::PathId,
    observe::Began,
    problem::{Problem, ProblemDocument},
};
use crate::domain::WaitlistEntry;

/// Read one's place on a product's waitlist
#[utoipa::path(
    get, path = "/products/{id}/waitlist", tag = "waitlist", params(("id" = Uuid, Path)),
    security(("token" = [])),
    responses(
        (status = 200, body = WaitlistEntry),
        (status = 404, body = ProblemDocument, description = "not_waiting"),
    ),
)]
pub(super) async fn get(
    State(shared): State<Shared>,
    id: PathId,
    headers: HeaderMap,
) -> Result<Json<WaitlistEntry>, Problem> {
    let user = shared.keys.user(&headers)?;
    let product = id.or(Problem::NotWaiting)?;
    let place = shared.store.waiting(product, &user.id).await?;
    place.map(Json).ok_or(Problem::NotWaiting)
}

/// Leave a product's waitlist
#[utoipa::path(
    delete, path = "/products/{id}/waitlist", tag = "waitlist", params(("id" = Uuid, Path)),
    security(("token" = [])),
    responses(
        (status = 204),
        (status = 404, body = ProblemDocument, description = "not_waiting"),
    ),
)]
pub(super) async fn leave(
    State(shared): State<Shared>,
    id: PathId,
    request: Request,
) -> Result<StatusCode, Problem> {
    let began = Began::of(&request);
    let user = shared.keys.user(request.headers())?;
    let product = id.or(Problem::NotWaiting)?;
    // Most who ask do not wait any more: their lane need not hear of it.
    if shared.store.waiting(product, &user.id).await?.is_none() {
        return Err(Problem::NotWaiting);
    }
    if shared.sequencer.leave(product, user.id, began).await? {
        Ok(StatusCode::NO_CONTENT)
    } else {
        Err(Problem::NotWaiting)
    }
}
