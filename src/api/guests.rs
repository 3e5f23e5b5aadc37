//! HTTP handler of `/guest-sessions`: tokens for visitors of the demo. Only with `--demo`.

use std::time::Duration;

use axum::{Json, extract::State, http::StatusCode};
use chrono::{DateTime, Utc};
use serde::Serialize;
use utoipa::ToSchema;
use uuid::Uuid;

use super::{
    SharedState,
    auth::{self, Role},
    problem::Problem,
};
use crate::domain::now;

const LASTS: Duration = Duration::from_hours(24);

#[derive(Debug, Serialize, ToSchema)]
pub(super) struct GuestSession {
    user_id: String,
    token: String,
    expires_at: DateTime<Utc>,
}

/// Begin a guest's session (demo only)
#[utoipa::path(
    post, path = "/guest-sessions", tag = "demo",
    responses((status = 201, body = GuestSession)),
)]
pub(super) async fn create(
    State(state): State<SharedState>,
) -> Result<(StatusCode, Json<GuestSession>), Problem> {
    let secret = state.guests.as_ref().ok_or(Problem::NotFound)?;
    let user_id = format!("guest-{}", Uuid::now_v7());
    let token =
        auth::sign(secret, &user_id, Role::Buyer, LASTS).map_err(|error| Problem::Internal {
            cause: error.to_string(),
        })?;
    let expires_at = now() + LASTS;
    Ok((
        StatusCode::CREATED,
        Json(GuestSession {
            user_id,
            token,
            expires_at,
        }),
    ))
}
