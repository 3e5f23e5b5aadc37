//! HTTP handler of `/orders/{id}/cancel`: returns the units and refunds the payment.

use axum::{
    Json,
    extract::{Request, State},
};

use super::visible;
use crate::{
    api::{
        SharedState,
        auth::Role,
        extract::{self, PathId},
        observe::Began,
        problem::Problem,
    },
    domain::{Code, Order, OrderStatus},
    sequencer::{Cancel, Cancellation},
    store::Release,
};

/// Cancel an order: a pending one by its buyer, a confirmed one by an admin
#[utoipa::path(
    post, path = "/orders/{id}/cancel", tag = "orders", params(("id" = Uuid, Path)),
    operation_id = "cancelOrder", security(("token" = [])),
    responses((status = 200, body = Order, description = "the cancelled order")),
    extensions(("x-codes" = json!([
        Code::OrderNotFound, Code::OrderNotPending, Code::PaymentsDisabled, Code::HighDemand, Code::OutcomeUnknown,
    ]))),
)]
pub(in crate::api) async fn cancel(
    State(state): State<SharedState>,
    id: PathId,
    request: Request,
) -> Result<Json<Order>, Problem> {
    let began = Began::of(&request);
    let user = state.keys.user(request.headers()).await?;
    let order = visible(&state, id, &user).await?;
    let actor = extract::actor(&user, request.headers(), request.extensions());
    let cancelled = match (order.status, user.role) {
        // The repetition of a cancellation learns that it was done, so it is asked of the lane, whose
        // answer waits until a standby has it.
        (OrderStatus::Pending | OrderStatus::Cancelled, _) => {
            let cancellation = Cancellation::of(&order, Release::Cancel, actor);
            state.sequencer.cancel(cancellation, began).await?
        }
        (OrderStatus::Confirmed, Role::Admin) => state.checkout.undo(order, actor, began).await?,
        (order_status, _) => return Err(Problem::OrderNotPending { order_status }),
    };
    match cancelled {
        Cancel::Done(order) => Ok(Json(*order)),
        Cancel::WrongStatus(order_status) => Err(Problem::OrderNotPending { order_status }),
        Cancel::NotFound => Err(Problem::OrderNotFound),
    }
}
