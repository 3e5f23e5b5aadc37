//! HTTP handler of `/guest-sessions`: tokens for demo users. Only with `--demo`.

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

const SESSION_TTL: Duration = Duration::from_hours(24);

#[derive(Debug, Serialize, ToSchema)]
pub(super) struct GuestSession {
    user_id: String,
    token: String,
    expires_at: DateTime<Utc>,
}

/// Create a guest session (demo only)
#[utoipa::path(
    post, path = "/guest-sessions", tag = "demo", operation_id = "createGuestSession",
    responses((status = 201, body = GuestSession, description = "a token for a new guest")),
)]
pub(super) async fn create(
    State(state): State<SharedState>,
) -> Result<(StatusCode, Json<GuestSession>), Problem> {
    let secret = state.guests.as_ref().ok_or(Problem::NotFound)?;
    let user_id = format!("guest-{}", Uuid::now_v7());
    let token = auth::sign(secret, &user_id, Role::Buyer, SESSION_TTL);
    let token = token.map_err(|error| Problem::Internal {
        cause: error.to_string(),
    })?;
    let expires_at = now() + SESSION_TTL;
    Ok((
        StatusCode::CREATED,
        Json(GuestSession {
            user_id,
            token,
            expires_at,
        }),
    ))
}
