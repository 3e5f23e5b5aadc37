//! From Stripe's answer to a decision. Pure; every doubt ends in `Unknown`, never in `Paid`.

use serde::Deserialize;

use super::super::{Asked, Charge, Charged, Error, Why};
use crate::domain::Payment;

/// An answer as it came; `Debug` is left out because a body may hold a buyer's data.
pub(super) struct Answer {
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
struct Failure {
    error: Fault,
}

#[derive(Deserialize)]
struct Fault {
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

fn unknown<T>(why: Why) -> Result<T, Error> {
    Err(Error::Unknown(why))
}

/// What the answer to a creation or a confirmation means.
pub(super) fn charged(answer: &Answer, charge: &Charge<'_>) -> Result<Charged, Error> {
    match answer.status {
        200 => judge(parse(answer)?, charge),
        400 | 402 | 404 => faulted(answer.status, parse::<Failure>(answer)?.error, charge),
        // Nothing was looked at, but an earlier call may have been.
        status @ (401 | 403) if charge.asked == Asked::First => {
            Err(Error::NotCharged(Why::Key(status)))
        }
        status @ (401 | 403) => unknown(Why::Key(status)),
        status => unknown(Why::Status(status)),
    }
}

fn parse<'a, T: Deserialize<'a>>(answer: &'a Answer) -> Result<T, Error> {
    serde_json::from_slice(&answer.body).or(unknown(Why::Garbage("a body of another shape")))
}

fn judge(intent: Intent, charge: &Charge<'_>) -> Result<Charged, Error> {
    if let Some(difference) = difference(&intent, charge) {
        return unknown(Why::OtherPayment(difference));
    }
    match intent.status.as_str() {
        "succeeded" => Ok(Charged::Paid(Payment {
            id: intent.id,
            status: intent.status,
        })),
        "requires_payment_method" => Ok(declined(Some(intent.id), "card_declined")),
        // Nobody is ever given what it takes to go on with it, so it stays unpaid.
        "requires_action" => Ok(declined(Some(intent.id), "authentication_required")),
        // It can never succeed, so the next attempt may have another.
        "canceled" => Ok(declined(None, "canceled")),
        "processing" => unknown(Why::Working("processing")),
        _ => unknown(Why::Working("a status that we do not ask for")),
    }
}

fn declined(intent: Option<String>, reason: &str) -> Charged {
    Charged::Declined {
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

fn faulted(status: u16, fault: Fault, charge: &Charge<'_>) -> Result<Charged, Error> {
    if fault.kind == "idempotency_error" {
        return unknown(Why::KeyReused);
    }
    if status == 402 {
        return refused_by_bank(fault, charge);
    }
    if fault.kind != "invalid_request_error" {
        return unknown(Why::Status(status));
    }
    // Such as an intent that has succeeded already, which tells how it stands.
    if fault.code.as_deref() == Some("payment_intent_unexpected_state") {
        return match fault.payment_intent {
            Some(intent) => judge(intent, charge),
            None => unknown(Why::Garbage("no intent beside its unexpected state")),
        };
    }
    // Under the key of an earlier call that did charge, its success would have been said again:
    // this refusal speaks for the whole attempt.
    match (fault.param.as_deref(), fault.code) {
        (Some("payment_method"), _) | (None, None) => Ok(declined(
            charge.intent.map(str::to_owned),
            "invalid_payment_method",
        )),
        (Some("amount"), _) => Err(Error::NotCharged(Why::Refused("the amount", status))),
        (Some("currency"), _) => Err(Error::NotCharged(Why::Refused("the currency", status))),
        // Perhaps an intent that this account does not know, after the key was changed.
        (Some(_) | None, _) if charge.asked == Asked::Again => {
            unknown(Why::Refused("another part", status))
        }
        (Some(_) | None, _) => Err(Error::NotCharged(Why::Refused("another part", status))),
    }
}

fn refused_by_bank(fault: Fault, charge: &Charge<'_>) -> Result<Charged, Error> {
    // The code, not the decline code: that would tell a thief that the card is known as stolen.
    let reason = fault.code.filter(|code| {
        code.len() <= 64 && code.bytes().all(|b| b.is_ascii_lowercase() || b == b'_')
    });
    let reason = reason.as_deref().unwrap_or("card_declined");
    let Some(intent) = fault.payment_intent else {
        return Ok(declined(charge.intent.map(str::to_owned), reason));
    };
    match judge(intent, charge)? {
        Charged::Paid(_) => unknown(Why::Garbage("a decline of a payment that succeeded")),
        Charged::Declined { intent, .. } => Ok(declined(intent, reason)),
    }
}

/// What the answer to a refund means.
pub(super) fn refunded(answer: &Answer, payment_id: &str) -> Result<(), Error> {
    match answer.status {
        200 => {
            let refund: Refund = parse(answer)?;
            match refund.status.as_str() {
                _ if refund.payment_intent.as_deref() != Some(payment_id) => {
                    unknown(Why::OtherPayment("the intent"))
                }
                "succeeded" | "pending" => Ok(()),
                "failed" | "canceled" => Err(Error::NotCharged(Why::RefundFailed)),
                _ => unknown(Why::Working("a refund that waits for somebody")),
            }
        }
        status @ (400 | 402 | 404) => {
            let fault = parse::<Failure>(answer)?.error;
            match fault.code.as_deref() {
                Some("charge_already_refunded") => Ok(()),
                _ if fault.kind == "idempotency_error" => unknown(Why::KeyReused),
                _ => Err(Error::NotCharged(Why::Refused("the payment", status))),
            }
        }
        status @ (401 | 403) => unknown(Why::Key(status)),
        status => unknown(Why::Status(status)),
    }
}

#[cfg(test)]
mod tests;
