//! Stripe's webhook events: checks their signature and time, and reads which payment they name.
//!
//! An event is only a reason to ask Stripe for the payment's state. So a replayed event, or one that
//! arrives late or out of order, changes nothing that is not true at Stripe.

use chrono::{DateTime, TimeDelta, Utc};
use hmac::{Hmac, KeyInit, Mac};
use serde::Deserialize;
use sha2::Sha256;

use crate::domain::{OrderId, Secret};

/// The largest event, in bytes; an event with a payment intent has about 5 KiB.
pub const EVENT_MAX: usize = 64 * 1024;
/// An event's time may differ from now by this much, as in Stripe's own libraries.
const TOLERANCE: TimeDelta = TimeDelta::minutes(5);
/// Signatures that are compared: one per secret, of which Stripe uses two while one is replaced.
const SIGNATURES_MAX: usize = 8;

/// Why an event is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    #[error("the header Stripe-Signature is missing or malformed")]
    Malformed,
    #[error("the time in Stripe-Signature is more than five minutes from now")]
    Time,
    #[error("no signature in Stripe-Signature is that of the body")]
    Signature,
    #[error("the body is not an event of Stripe")]
    Event,
}

/// A payment that an event names, as far as the service has to look at it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Notice {
    pub order_id: OrderId,
    /// The gateway's identifier of the payment.
    pub intent: String,
}

/// The event types that end an authentication.
const TYPES: [&str; 3] = [
    "payment_intent.succeeded",
    "payment_intent.payment_failed",
    "payment_intent.canceled",
];

#[derive(Deserialize)]
struct Event<'a> {
    #[serde(borrow, rename = "type")]
    kind: std::borrow::Cow<'a, str>,
    data: Data,
}

#[derive(Deserialize)]
struct Data {
    object: serde_json::Value,
}

/// Reads a signed event; `None` when it is about something else than the payment of an order.
pub fn read(
    secret: &Secret,
    header: Option<&str>,
    body: &[u8],
    now: DateTime<Utc>,
) -> Result<Option<Notice>, Error> {
    verify(secret, header.ok_or(Error::Malformed)?, body, now)?;
    let event: Event<'_> = serde_json::from_slice(body).map_err(|_| Error::Event)?;
    if !TYPES.contains(&&*event.kind) {
        return Ok(None);
    }
    Ok(notice(&event.data.object))
}

/// The payment that an intent is for; the account may have intents of other programs.
fn notice(intent: &serde_json::Value) -> Option<Notice> {
    let order = intent.pointer("/metadata/order_id")?.as_str()?;
    Some(Notice {
        order_id: order.parse().ok()?,
        intent: intent.get("id")?.as_str()?.to_owned(),
    })
}

/// Checks the time, then the signatures, as Stripe documents it
/// (<https://docs.stripe.com/webhooks/signature>): HMAC-SHA256 of `{t}.{body}`, in hexadecimal.
fn verify(secret: &Secret, header: &str, body: &[u8], now: DateTime<Utc>) -> Result<(), Error> {
    let (mut time, mut signatures) = (None, Vec::new());
    for part in header.split(',') {
        match part.trim().split_once('=').ok_or(Error::Malformed)? {
            ("t", _) if time.is_some() => return Err(Error::Malformed),
            ("t", value) => time = Some(value),
            ("v1", value) if signatures.len() < SIGNATURES_MAX => signatures.push(value),
            // Other schemes, such as `v0` of test events, prove nothing.
            (_, _) => {}
        }
    }
    let time = time.ok_or(Error::Malformed)?;
    let sent: i64 = time.parse().map_err(|_| Error::Malformed)?;
    let sent = DateTime::from_timestamp(sent, 0).ok_or(Error::Malformed)?;
    if (now - sent).abs() > TOLERANCE {
        return Err(Error::Time);
    }
    let mut mac =
        Hmac::<Sha256>::new_from_slice(secret.expose().as_bytes()).map_err(|_| Error::Signature)?;
    mac.update(time.as_bytes());
    mac.update(b".");
    mac.update(body);
    // `verify_slice` compares in constant time.
    let is_signed = signatures
        .into_iter()
        .filter_map(bytes)
        .any(|signature| mac.clone().verify_slice(&signature).is_ok());
    is_signed.then_some(()).ok_or(Error::Signature)
}

/// The bytes of a signature in hexadecimal.
fn bytes(hexadecimal: &str) -> Option<Vec<u8>> {
    let (pairs, rest) = hexadecimal.as_bytes().as_chunks::<2>();
    if pairs.len() != 32 || !rest.is_empty() {
        return None;
    }
    let digit = |byte: u8| {
        char::from(byte)
            .to_digit(16)
            .and_then(|it| u8::try_from(it).ok())
    };
    let byte = |[high, low]: &[u8; 2]| Some(digit(*high)? * 16 + digit(*low)?);
    pairs.iter().map(byte).collect()
}

#[cfg(test)]
mod tests;
