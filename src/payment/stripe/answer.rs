//! From Stripe's answer to a decision. Pure; every doubt ends in `Unknown`, never in `Paid`.

use serde::Deserialize;

use super::super::{Cause, Charge, ChargeResult, Error, SendMode};
use crate::domain::{Payment, PaymentStatus};

/// An answer as it came; `Debug` is left out because a body may hold a buyer's data.
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

fn unknown<T>(why: Cause) -> Result<T, Error> {
    Err(Error::Unknown(why))
}

/// What the answer to a creation or a confirmation means.
pub(super) fn charged(answer: &StripeResponse, charge: &Charge<'_>) -> Result<ChargeResult, Error> {
    match answer.status {
        200 => judge(parse(answer)?, charge),
        400 | 402 | 404 => refused(answer.status, parse::<ErrorBody>(answer)?.error, charge),
        // Nothing was looked at, but an earlier call may have been.
        status @ (401 | 403) if charge.mode == SendMode::First => {
            Err(Error::NotCharged(Cause::Key(status)))
        }
        status @ (401 | 403) => unknown(Cause::Key(status)),
        status => unknown(Cause::Status(status)),
    }
}

fn parse<'a, T: Deserialize<'a>>(answer: &'a StripeResponse) -> Result<T, Error> {
    serde_json::from_slice(&answer.body).or(unknown(Cause::Malformed("a body of another shape")))
}

fn judge(intent: Intent, charge: &Charge<'_>) -> Result<ChargeResult, Error> {
    if let Some(difference) = difference(&intent, charge) {
        return unknown(Cause::OtherPayment(difference));
    }
    match intent.status.as_str() {
        "succeeded" => Ok(ChargeResult::Paid(Payment {
            id: intent.id,
            status: PaymentStatus::Succeeded,
        })),
        "requires_payment_method" => Ok(declined(Some(intent.id), "card_declined")),
        // Nobody is ever given what it takes to go on with it, so it stays unpaid.
        "requires_action" => Ok(declined(Some(intent.id), "authentication_required")),
        // It can never succeed, so the next attempt may have another.
        "canceled" => Ok(declined(None, "canceled")),
        "processing" => unknown(Cause::Working("processing")),
        _ => unknown(Cause::Working("a status that we do not ask for")),
    }
}

fn declined(intent: Option<String>, reason: &str) -> ChargeResult {
    ChargeResult::Declined {
        intent,
        reason: reason.to_owned(),
    }
}

/// What of an intent does not fit the order; a gateway that mixes answers up, or that lies, must
/// not confirm one.
fn difference(intent: &Intent, charge: &Charge<'_>) -> Option<&'static str> {
    let order = charge.order_id.to_string();
    let confirmed = charge.intent.filter(|_| charge.attempt > 1);
    if !is_id(&intent.id) || confirmed.is_some_and(|known| known != intent.id) {
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

/// It goes into paths and into the database.
fn is_id(id: &str) -> bool {
    let part = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
    (1..=255).contains(&id.len()) && id.bytes().all(part)
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
    // Such as an intent that has succeeded already, which tells how it stands.
    if error.code.as_deref() == Some("payment_intent_unexpected_state") {
        return match error.payment_intent {
            Some(intent) => judge(intent, charge),
            None => unknown(Cause::Malformed("no intent beside its unexpected state")),
        };
    }
    // Under the key of an earlier call that did charge, its success would have been said again:
    // this refusal speaks for the whole attempt.
    match (error.param.as_deref(), error.code) {
        (Some("payment_method"), _) | (None, None) => Ok(declined(
            charge.intent.map(str::to_owned),
            "invalid_payment_method",
        )),
        (Some("amount"), _) => Err(Error::NotCharged(Cause::Refused("the amount", status))),
        (Some("currency"), _) => Err(Error::NotCharged(Cause::Refused("the currency", status))),
        // Perhaps an intent that this account does not know, after the key was changed.
        (Some(_) | None, _) if charge.mode == SendMode::Retry => {
            unknown(Cause::Refused("another part", status))
        }
        (Some(_) | None, _) => Err(Error::NotCharged(Cause::Refused("another part", status))),
    }
}

fn refused_by_bank(error: ApiError, charge: &Charge<'_>) -> Result<ChargeResult, Error> {
    // The code, not the decline code: that would tell a thief that the card is known as stolen.
    let reason = error.code.filter(|code| {
        code.len() <= 64 && code.bytes().all(|b| b.is_ascii_lowercase() || b == b'_')
    });
    let reason = reason.as_deref().unwrap_or("card_declined");
    let Some(intent) = error.payment_intent else {
        return Ok(declined(charge.intent.map(str::to_owned), reason));
    };
    match judge(intent, charge)? {
        ChargeResult::Paid(_) => unknown(Cause::Malformed("a decline of a payment that succeeded")),
        ChargeResult::Declined { intent, .. } => Ok(declined(intent, reason)),
    }
}

/// What the answer to a refund means.
pub(super) fn refunded(answer: &StripeResponse, payment_id: &str) -> Result<(), Error> {
    match answer.status {
        200 => {
            let refund: Refund = parse(answer)?;
            match refund.status.as_str() {
                _ if refund.payment_intent.as_deref() != Some(payment_id) => {
                    unknown(Cause::OtherPayment("the intent"))
                }
                "succeeded" | "pending" => Ok(()),
                "failed" | "canceled" => Err(Error::NotCharged(Cause::RefundFailed)),
                _ => unknown(Cause::Working("a refund that waits for somebody")),
            }
        }
        status @ (400 | 402 | 404) => {
            let error = parse::<ErrorBody>(answer)?.error;
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
