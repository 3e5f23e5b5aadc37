//! HTTP handler of `/orders/{id}/confirm`: pays for a pending order.

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
    checkout::Confirmed,
    domain::{Code, Order},
};

/// The buyer's payment method.
#[derive(Debug, Deserialize, Validate, ToSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::api) struct Confirmation {
    /// The gateway's identifier of the payment method, such as `pm_card_visa`.
    #[garde(length(bytes, min = 1, max = 255), custom(visible_ascii))]
    #[schema(min_length = 1, max_length = 255, pattern = "^[!-~]+$")]
    payment_method: String,
}

/// Pay for a pending order
#[utoipa::path(
    post, path = "/orders/{id}/confirm", tag = "orders", params(("id" = Uuid, Path)),
    operation_id = "confirmOrder", request_body = Confirmation, security(("token" = [])),
    responses((status = 200, body = Order, description = "the confirmed order")),
    extensions(("x-codes" = json!([
        Code::PaymentDeclined, Code::OrderNotFound, Code::OrderNotPending, Code::PaymentsDisabled, Code::OutcomeUnknown,
    ]))),
)]
pub(in crate::api) async fn confirm(
    State(state): State<SharedState>,
    id: PathId,
    request: Request,
) -> Result<Json<Order>, Problem> {
    let sent = extract::from_user::<Confirmation>(&state, request).await?;
    let order = visible(&state, id, &sent.user).await?;
    if order.user_id != sent.user.id {
        // An admin sees every order, but pays only for their own.
        return Err(Problem::OrderNotFound);
    }
    let method = sent.body.payment_method;
    match state.checkout.confirm(&order, method, sent.began).await? {
        Confirmed::Done(order) => Ok(Json(*order)),
        Confirmed::Declined { reason } => Err(Problem::PaymentDeclined { reason }),
        Confirmed::WrongStatus(order_status) => Err(Problem::OrderNotPending { order_status }),
        Confirmed::NotFound => Err(Problem::OrderNotFound),
    }
}

#[expect(
    clippy::trivially_copy_pass_by_ref,
    reason = "garde passes the context by reference"
)]
fn visible_ascii(text: &str, _context: &()) -> garde::Result {
    if text.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Ok(());
    }
    Err(garde::Error::new("must be visible ASCII characters"))
}
