//! Interprets Stripe's responses: pure functions from a response to a charge or refund result.
//!
//! An unclear response is `Unknown`, never `Paid`.

use serde::Deserialize;

use super::super::{Cause, Charge, ChargeResult, Error, SendMode};
use crate::domain::{Payment, PaymentStatus, Secret};

/// A raw response; it has no `Debug`, because a body may hold a buyer's data.
pub(super) struct StripeResponse {
    pub(super) status: u16,
    pub(super) body: Vec<u8>,
}

#[derive(Deserialize)]
struct Intent {
    id: String,
    status: String,
    amount: i64,
    currency: String,
    #[serde(default)]
    metadata: Metadata,
    client_secret: Option<String>,
    last_payment_error: Option<LastError>,
}

/// Why the last attempt to pay an intent failed.
#[derive(Deserialize)]
struct LastError {
    code: Option<String>,
}

#[derive(Default, Deserialize)]
struct Metadata {
    order_id: Option<String>,
}

#[derive(Deserialize)]
struct ErrorBody {
    error: ApiError,
}

#[derive(Deserialize)]
struct ApiError {
    #[serde(rename = "type")]
    kind: String,
    code: Option<String>,
    param: Option<String>,
    payment_intent: Option<Intent>,
}

#[derive(Deserialize)]
struct Refund {
    status: String,
    payment_intent: Option<String>,
}

fn unknown<T>(cause: Cause) -> Result<T, Error> {
    Err(Error::Unknown(cause))
}

/// The result of creating or confirming an intent.
pub(super) fn charged(
    response: &StripeResponse,
    charge: &Charge<'_>,
) -> Result<ChargeResult, Error> {
    match response.status {
        200 => charged_by_intent(parse(response)?, charge, confirmed_intent(charge)),
        400 | 402 | 404 => refused(response.status, parse::<ErrorBody>(response)?.error, charge),
        // Stripe did not process this call, but may have processed an earlier one.
        status @ (401 | 403) if charge.mode == SendMode::First => {
            Err(Error::NotCharged(Cause::Key(status)))
        }
        status @ (401 | 403) => unknown(Cause::Key(status)),
        status => unknown(Cause::Status(status)),
    }
}

fn parse<'a, T: Deserialize<'a>>(response: &'a StripeResponse) -> Result<T, Error> {
    // serde_json skips members that are not read, also where they are no valid text.
    let text = std::str::from_utf8(&response.body).ok();
    let body = text.and_then(|text| serde_json::from_str(text).ok());
    body.map_or_else(|| unknown(Cause::Malformed("an unexpected body")), Ok)
}

/// The state of the intent `requested`, after it was read or cancelled.
pub(super) fn state(
    response: &StripeResponse,
    charge: &Charge<'_>,
    requested: &str,
) -> Result<ChargeResult, Error> {
    let intent = match response.status {
        200 => parse(response)?,
        // It cannot be cancelled any more, for example because it has succeeded.
        400 => match parse::<ErrorBody>(response)?.error {
            ApiError {
                payment_intent: Some(intent),
                ..
            } => intent,
            _ => return unknown(Cause::Status(400)),
        },
        status @ (401 | 403) => return unknown(Cause::Key(status)),
        status @ 404 => return unknown(Cause::Refused("the payment", status)),
        status => return unknown(Cause::Status(status)),
    };
    charged_by_intent(intent, charge, Some(requested))
}

/// The intent that this attempt confirms again; `None` when it creates one.
fn confirmed_intent<'a>(charge: &Charge<'a>) -> Option<&'a str> {
    charge.intent.filter(|_| charge.attempt > 1)
}

fn charged_by_intent(
    intent: Intent,
    charge: &Charge<'_>,
    requested: Option<&str>,
) -> Result<ChargeResult, Error> {
    if let Some(mismatch) = mismatch(&intent, charge, requested) {
        return unknown(Cause::OtherPayment(mismatch));
    }
    match intent.status.as_str() {
        "succeeded" => Ok(ChargeResult::Paid(Payment::new(
            intent.id,
            PaymentStatus::Succeeded,
        ))),
        "requires_payment_method" => {
            let code = intent.last_payment_error.and_then(|error| error.code);
            Ok(declined(Some(intent.id), &public_reason(code)))
        }
        "requires_action" => match intent.client_secret {
            Some(secret) if is_visible(&secret) => Ok(ChargeResult::RequiresAction {
                intent: intent.id,
                client_secret: Secret::new(secret),
            }),
            Some(_) | None => unknown(Cause::Malformed("an action without a client secret")),
        },
        // It can never succeed, so the next attempt creates another one.
        "canceled" => Ok(declined(None, "canceled")),
        "processing" => unknown(Cause::Processing { intent: intent.id }),
        _ => unknown(Cause::Working("an unexpected status")),
    }
}

/// The code, not the decline code, which would reveal that the card is reported as stolen.
fn public_reason(code: Option<String>) -> String {
    let is_code = |code: &String| {
        (1..=64).contains(&code.len()) && code.bytes().all(|b| b.is_ascii_lowercase() || b == b'_')
    };
    code.filter(is_code)
        .unwrap_or_else(|| "card_declined".to_owned())
}

/// Restricts client secrets, which become part of database rows and answers.
fn is_visible(secret: &str) -> bool {
    (1..=255).contains(&secret.len()) && secret.bytes().all(|byte| byte.is_ascii_graphic())
}

fn declined(intent: Option<String>, reason: &str) -> ChargeResult {
    ChargeResult::Declined {
        intent,
        reason: reason.to_owned(),
    }
}

/// The part of an intent that does not match the order, if any: a wrong or forged answer must not
/// confirm an order.
fn mismatch(intent: &Intent, charge: &Charge<'_>, requested: Option<&str>) -> Option<&'static str> {
    let order = charge.order_id.to_string();
    if !is_id(&intent.id) || requested.is_some_and(|requested| requested != intent.id) {
        Some("the intent")
    } else if intent.metadata.order_id.as_deref() != Some(&order) {
        Some("the order")
    } else if intent.amount != charge.amount {
        Some("the amount")
    } else if !intent.currency.eq_ignore_ascii_case(charge.currency) {
        Some("the currency")
    } else {
        None
    }
}

/// Restricts intent ids, which become part of URL paths, idempotency keys and database rows.
fn is_id(id: &str) -> bool {
    let part = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
    (1..=200).contains(&id.len()) && id.bytes().all(part)
}

fn refused(status: u16, error: ApiError, charge: &Charge<'_>) -> Result<ChargeResult, Error> {
    if error.kind == "idempotency_error" {
        return unknown(Cause::KeyReused);
    }
    if status == 402 {
        return refused_by_bank(error, charge);
    }
    if error.kind != "invalid_request_error" {
        return unknown(Cause::Status(status));
    }
    // For example an intent that has succeeded already; the error contains the intent.
    if error.code.as_deref() == Some("payment_intent_unexpected_state") {
        return match error.payment_intent {
            Some(intent) => charged_by_intent(intent, charge, confirmed_intent(charge)),
            None => unknown(Cause::Malformed("an unexpected state without the intent")),
        };
    }
    // If an earlier call with this key had charged, Stripe would have repeated its success: this
    // refusal holds for the whole attempt.
    match (error.param.as_deref(), error.code) {
        (Some("payment_method"), _) | (None, None) => Ok(declined(
            charge.intent.map(str::to_owned),
            "invalid_payment_method",
        )),
        (Some("amount"), _) => Err(Error::NotCharged(Cause::Refused("the amount", status))),
        (Some("currency"), _) => Err(Error::NotCharged(Cause::Refused("the currency", status))),
        // Possibly an intent of another account, after the API key was changed.
        (Some(_) | None, _) if charge.mode == SendMode::Retry => {
            unknown(Cause::Refused("another part", status))
        }
        (Some(_) | None, _) => Err(Error::NotCharged(Cause::Refused("another part", status))),
    }
}

fn refused_by_bank(error: ApiError, charge: &Charge<'_>) -> Result<ChargeResult, Error> {
    let reason = public_reason(error.code);
    let Some(intent) = error.payment_intent else {
        return Ok(declined(charge.intent.map(str::to_owned), &reason));
    };
    match charged_by_intent(intent, charge, confirmed_intent(charge))? {
        ChargeResult::Paid(_) => unknown(Cause::Malformed("a decline of a payment that succeeded")),
        ChargeResult::RequiresAction { .. } => unknown(Cause::Malformed(
            "a decline of a payment that requires an action",
        )),
        ChargeResult::Declined { intent, .. } => Ok(declined(intent, &reason)),
    }
}

/// The result of a refund.
pub(super) fn refunded(response: &StripeResponse, payment_id: &str) -> Result<(), Error> {
    match response.status {
        200 => {
            let refund: Refund = parse(response)?;
            match refund.status.as_str() {
                _ if refund.payment_intent.as_deref() != Some(payment_id) => {
                    unknown(Cause::OtherPayment("the intent"))
                }
                "succeeded" | "pending" => Ok(()),
                "failed" | "canceled" => Err(Error::NotCharged(Cause::RefundFailed)),
                _ => unknown(Cause::Working("a refund that requires an action")),
            }
        }
        status @ (400 | 402 | 404) => {
            let error = parse::<ErrorBody>(response)?.error;
            match error.code.as_deref() {
                Some("charge_already_refunded") => Ok(()),
                _ if error.kind == "idempotency_error" => unknown(Cause::KeyReused),
                _ => Err(Error::NotCharged(Cause::Refused("the payment", status))),
            }
        }
        status @ (401 | 403) => unknown(Cause::Key(status)),
        status => unknown(Cause::Status(status)),
    }
}

#[cfg(test)]
mod tests;
