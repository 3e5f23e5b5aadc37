//! HTTP handler of `/audit`: the audit trail, for admins.

use axum::{Json, extract::State, http::HeaderMap};
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::{IntoParams, ToSchema};
use uuid::Uuid;

use super::{
    SharedState,
    extract::{self, Params},
    problem::Problem,
};
use crate::{
    domain::{AuditRow, Code},
    store::AuditFilter,
};

#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct AuditParams {
    /// The `sub` of the caller's token.
    #[param(
        required = false,
        nullable = false,
        min_length = 1,
        max_length = 255,
        pattern = "^[^\\x00-\\x1F\\x7F-\\x9F]*$"
    )]
    actor: Option<String>,
    /// The id of a product or an order.
    #[param(required = false, nullable = false, value_type = Option<Uuid>)]
    target: Option<String>,
    /// From this time on.
    #[param(required = false, nullable = false, value_type = Option<DateTime<Utc>>)]
    created_after: Option<String>,
    /// Before this time.
    #[param(required = false, nullable = false, value_type = Option<DateTime<Utc>>)]
    created_before: Option<String>,
    #[param(required = false, nullable = false, value_type = Option<u64>, minimum = 1, maximum = 100)]
    limit: Option<String>,
    #[param(required = false, nullable = false, value_type = Option<Uuid>)]
    cursor: Option<String>,
}

/// One change of a product or an order.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Audit)]
pub(super) struct AuditDocument {
    id: Uuid,
    at: DateTime<Utc>,
    /// The `sub` of the caller's token; `flash-sale` with the role `service` for the service itself.
    actor: String,
    /// `admin`, `buyer` or `service`.
    role: String,
    /// `product.create`, `product.change`, `product.restock`, `product.archive`, `order.cancel`,
    /// `order.refund`, `order.resolve` or `order.confirm`.
    action: String,
    /// The id of the product or order.
    target: Uuid,
    /// What the action changed, as it was before; null for something new.
    #[schema(value_type = Option<Object>)]
    before: Value,
    #[schema(value_type = Option<Object>)]
    after: Value,
    /// The `X-Request-Id` of the call.
    request_id: Option<String>,
}

impl From<AuditRow> for AuditDocument {
    fn from(row: AuditRow) -> Self {
        Self {
            id: row.id,
            at: row.at,
            actor: row.actor.id.to_string(),
            role: row.actor.role.to_string(),
            action: row.action.to_string(),
            target: row.target,
            before: row.before,
            after: row.after,
            request_id: row.actor.request_id.clone(),
        }
    }
}

#[derive(Debug, Serialize, ToSchema)]
pub(super) struct AuditPage {
    audit: Vec<AuditDocument>,
    /// The `cursor` of the next page; null on the last one.
    next_cursor: Option<Uuid>,
}

/// Read the audit trail, newest first (admin)
#[utoipa::path(
    get, path = "/audit", tag = "audit", operation_id = "listAudit", params(AuditParams),
    security(("token" = [])),
    responses((status = 200, body = AuditPage, description = "a page of the audit trail")),
    extensions(("x-codes" = json!([Code::Forbidden]))),
)]
pub(super) async fn list(
    State(state): State<SharedState>,
    headers: HeaderMap,
    Params(params): Params<AuditParams>,
) -> Result<Json<AuditPage>, Problem> {
    extract::require_admin(&state.keys.user(&headers).await?)?;
    let limit = extract::limit(params.limit.as_deref())?;
    let filter = AuditFilter {
        actor: extract::user("actor", params.actor)?,
        target: extract::parameter("target", params.target.as_deref(), "a UUID")?,
        from: extract::time("created_after", params.created_after.as_deref())?,
        until: extract::time("created_before", params.created_before.as_deref())?,
        before: extract::cursor(params.cursor.as_deref())?,
        limit: limit + 1,
    };
    let rows = state.store.audit(filter).await?;
    let (rows, next_cursor) = extract::page(rows, limit, |row| row.id);
    Ok(Json(AuditPage {
        audit: rows.into_iter().map(AuditDocument::from).collect(),
        next_cursor,
    }))
}
