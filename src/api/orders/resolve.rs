//! HTTP handler of `/orders/{id}/resolve`: an admin ends a payment that nothing else can end.

use axum::{
    Json,
    extract::{Request, State},
};
use garde::Validate;
use serde::Deserialize;
use utoipa::ToSchema;

use super::visible;
use crate::{
    api::{
        SharedState,
        extract::{self, PathId},
        problem::Problem,
    },
    checkout::Resolved,
    domain::{Code, Order},
    store::Found,
};

/// What the gateway shows about the payment.
#[derive(Debug, Deserialize, Validate, ToSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::api) struct Resolution {
    /// Whether the shop has the buyer's money.
    #[garde(skip)]
    paid: bool,
}

/// End an open payment or refund after comparing it with the gateway (admin)
#[utoipa::path(
    post, path = "/orders/{id}/resolve", tag = "orders", params(("id" = Uuid, Path)),
    operation_id = "resolveOrder", request_body = Resolution, security(("token" = [])),
    responses((status = 200, body = Order, description = "the order with its ended payment")),
    extensions(("x-codes" = json!([
        Code::Forbidden, Code::OrderNotFound, Code::OrderNotPending, Code::OutcomeUnknown,
    ]))),
)]
pub(in crate::api) async fn resolve(
    State(state): State<SharedState>,
    id: PathId,
    request: Request,
) -> Result<Json<Order>, Problem> {
    let sent = extract::from_admin::<Resolution>(&state, request).await?;
    let order = visible(&state, id, &sent.user).await?;
    let found = if sent.body.paid {
        Found::Paid
    } else {
        Found::Unpaid
    };
    let (actor, began) = (sent.actor(), sent.began);
    match state.checkout.resolve(order, found, actor, began).await? {
        Resolved::Done(order) => Ok(Json(*order)),
        Resolved::NotOpen(order_status) => Err(Problem::OrderNotPending { order_status }),
        Resolved::NotFound => Err(Problem::OrderNotFound),
    }
}
