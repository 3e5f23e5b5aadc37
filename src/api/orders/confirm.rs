//! HTTP handler of `/orders/{id}/confirm`: pays for a pending order.

use std::sync::Arc;

use axum::{
    Json,
    extract::{Request, State},
    http::StatusCode,
    response::{IntoResponse, Response},
};
use garde::Validate;
use serde::Deserialize;
use utoipa::ToSchema;

use super::visible;
use crate::{
    api::{
        SharedState,
        auth::Role,
        extract::{self, PathId, Sent},
        problem::Problem,
    },
    checkout::Confirmed,
    domain::{Actor, Code, ExternalPayment, Order},
    store::DECLINES_MAX,
};

/// How the order is paid; exactly one of the fields.
#[derive(Debug, Deserialize, Validate, ToSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::api) struct Confirmation {
    /// The gateway's identifier of the buyer's payment method, such as `pm_card_visa`.
    #[garde(inner(length(bytes, min = 1, max = 255), custom(visible_ascii)))]
    #[schema(min_length = 1, max_length = 255, pattern = "^[!-~]+$")]
    payment_method: Option<String>,
    /// A payment that was made outside of the service (admin).
    #[garde(dive)]
    external_payment: Option<OutsidePayment>,
}

/// A payment that was made outside of the service.
#[derive(Debug, Deserialize, Validate, ToSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::api) struct OutsidePayment {
    /// Who was paid, such as `paypal` or `cash desk 2`.
    #[garde(length(chars, min = 1, max = 64), custom(extract::printable))]
    #[schema(
        min_length = 1,
        max_length = 64,
        pattern = "^[^\\x00-\\x09\\x0B-\\x1F\\x7F-\\x9F]*$"
    )]
    provider: String,
    /// The payment's name there.
    #[garde(length(chars, min = 1, max = 255), custom(extract::printable))]
    #[schema(
        min_length = 1,
        max_length = 255,
        pattern = "^[^\\x00-\\x09\\x0B-\\x1F\\x7F-\\x9F]*$"
    )]
    reference: String,
}

/// Pay for a pending order, or (admin) confirm one that was paid outside
#[utoipa::path(
    post, path = "/orders/{id}/confirm", tag = "orders", params(("id" = Uuid, Path)),
    operation_id = "confirmOrder", request_body = Confirmation, security(("token" = [])),
    responses(
        (status = 200, body = Order, description = "the confirmed order"),
        (status = 202, body = Order, description = "the buyer has to authenticate the payment, with `payment.client_secret`"),
    ),
    extensions(("x-codes" = json!([
        Code::PaymentDeclined, Code::Forbidden, Code::OrderNotFound, Code::OrderNotPending, Code::PaymentsDisabled,
        Code::OutcomeUnknown,
    ]))),
)]
pub(in crate::api) async fn confirm(
    State(state): State<SharedState>,
    id: PathId,
    request: Request,
) -> Result<Response, Problem> {
    let sent = extract::from_user::<Confirmation>(&state, request).await?;
    let actor = sent.actor();
    let Sent {
        user, body, began, ..
    } = sent;
    let method = match (body.payment_method, body.external_payment) {
        (Some(method), None) => method,
        (None, Some(_)) if user.role != Role::Admin => return Err(Problem::Forbidden),
        (None, Some(payment)) => return confirm_external(&state, id, payment, &actor).await,
        (None, None) => return Err(Problem::invalid("payment_method", "is missing")),
        (Some(_), Some(_)) => {
            return Err(Problem::invalid(
                "external_payment",
                "cannot be given together with payment_method",
            ));
        }
    };
    let admitted = state.gate.admit_confirmation(&user.id).await;
    admitted.map_err(Problem::ConfirmationsLimited)?;
    let order = visible(&state, id, &user).await?;
    if order.user_id != user.id {
        // An admin sees every order, but pays only for their own.
        return Err(Problem::OrderNotFound);
    }
    answer(state.checkout.confirm(&order, method, began).await?)
}

async fn confirm_external(
    state: &SharedState,
    id: PathId,
    payment: OutsidePayment,
    actor: &Arc<Actor>,
) -> Result<Response, Problem> {
    let id = id.or(Problem::OrderNotFound)?;
    let payment = ExternalPayment {
        provider: payment.provider,
        reference: payment.reference,
        refund_due: None,
    };
    answer(state.checkout.confirm_external(id, &payment, actor).await?)
}

fn answer(confirmed: Confirmed) -> Result<Response, Problem> {
    match confirmed {
        Confirmed::Done(order) => Ok(Json(*order).into_response()),
        Confirmed::RequiresAction(order) => {
            Ok((StatusCode::ACCEPTED, Json(*order)).into_response())
        }
        Confirmed::Declined { reason } => Err(Problem::PaymentDeclined { reason }),
        Confirmed::WrongStatus(order_status) => Err(Problem::OrderNotPending { order_status }),
        Confirmed::Exhausted(retry_after) => Err(Problem::PaymentsExhausted {
            limit: DECLINES_MAX,
            retry_after,
        }),
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
