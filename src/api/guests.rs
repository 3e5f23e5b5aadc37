//! HTTP handlers of `/guest-sessions` and `/guest-authentications`: tokens for demo users, and the
//! bank that asks them. Only with `--demo`.

use std::time::Duration;

use axum::{
    Json,
    extract::{Request, State},
    http::StatusCode,
};
use chrono::{DateTime, Utc};
use garde::Validate;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use uuid::Uuid;

use super::{SharedState, auth::Role, extract, problem::Problem};
use crate::domain::{Code, now};

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
    let signer = state.guests.as_ref().ok_or(Problem::NotFound)?;
    let user_id = format!("guest-{}", Uuid::now_v7());
    let token = signer.sign(&user_id, Role::Buyer, SESSION_TTL);
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

/// A guest's answer to the simulated bank.
#[derive(Debug, Deserialize, Validate, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Authentication {
    /// `payment.client_secret` of the order to authenticate.
    #[garde(length(bytes, min = 1, max = 255))]
    #[schema(min_length = 1, max_length = 255)]
    client_secret: String,
    #[garde(skip)]
    approve: bool,
}

/// Answer the simulated bank (demo only), in place of Stripe's script
#[utoipa::path(
    post, path = "/guest-authentications", tag = "demo", operation_id = "answerGuestAuthentication",
    request_body = Authentication, security(("token" = [])),
    responses((status = 204, description = "the first answer to a payment counts")),
    extensions(("x-codes" = json!([Code::NotFound]))),
)]
pub(super) async fn authenticate(
    State(state): State<SharedState>,
    request: Request,
) -> Result<StatusCode, Problem> {
    let sent = extract::from_user::<Authentication>(&state, request).await?;
    let gateway = state.checkout.simulated().ok_or(Problem::NotFound)?;
    let Authentication {
        client_secret,
        approve,
    } = sent.body;
    if !gateway.answer(&client_secret, approve) {
        return Err(Problem::invalid("client_secret", "names no payment"));
    }
    Ok(StatusCode::NO_CONTENT)
}
