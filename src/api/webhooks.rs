//! HTTP handler of `/webhooks/stripe`: what Stripe reports about payments.

use axum::{
    Json,
    extract::{Request, State},
    http::HeaderMap,
};
use serde::Serialize;
use utoipa::ToSchema;

use super::{SharedState, extract, observe::Began, problem::Problem};
use crate::{
    domain::Code,
    metrics::payments::webhook,
    payment::stripe::webhook::{self as stripe_webhook, EVENT_MAX, read},
};

/// The answer to an event that was read.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Received {
    received: bool,
}

/// Report the end of a payment (Stripe)
#[utoipa::path(
    post, path = "/webhooks/stripe", tag = "webhooks", operation_id = "receiveStripeEvent",
    request_body = serde_json::Value,
    params(("Stripe-Signature" = String, Header, description = "`t=...,v1=...`, as Stripe signs its events")),
    responses((status = 200, body = Received, description = "the event was read")),
    extensions(("x-codes" = json!([Code::InvalidSignature, Code::NotFound, Code::OutcomeUnknown]))),
)]
pub(super) async fn stripe(
    State(state): State<SharedState>,
    request: Request,
) -> Result<Json<Received>, Problem> {
    let Some(secret) = &state.stripe_webhook_secret else {
        return Err(Problem::NotFound);
    };
    let began = Began::of(&request);
    let (parts, body) = request.into_parts();
    let body = extract::bytes(&state, &parts.headers, body, EVENT_MAX).await?;
    let notice = read(secret, signature(&parts.headers), &body, state.store.now());
    let notice = notice.map_err(|error| {
        webhook("refused");
        // Anybody can call it, so this is no line of its own in a usual log.
        tracing::debug!("refused a call of the webhook: {error}");
        match error {
            stripe_webhook::Error::Event => Problem::MalformedJson {
                detail: error.to_string(),
            },
            stripe_webhook::Error::Malformed
            | stripe_webhook::Error::Time
            | stripe_webhook::Error::Signature => Problem::InvalidSignature {
                reason: error.to_string(),
            },
        }
    })?;
    let Some(notice) = notice else {
        webhook("ignored");
        return Ok(Json(Received { received: true }));
    };
    let looked = state.checkout.notice(notice.order_id, notice.intent, began);
    match looked.await {
        Ok(()) => {
            webhook("accepted");
            Ok(Json(Received { received: true }))
        }
        // Stripe sends the event again.
        Err(error) => {
            webhook("failed");
            Err(error.into())
        }
    }
}

/// The signature header, unless it was sent twice.
fn signature(headers: &HeaderMap) -> Option<&str> {
    let mut values = headers.get_all("stripe-signature").iter();
    let value = values.next()?;
    values.next().is_none().then(|| value.to_str().ok())?
}
