//! Stripe's webhook events, signed by the test.

use std::{
    fmt::Write,
    time::{SystemTime, UNIX_EPOCH},
};

use hmac::{Hmac, KeyInit, Mac};
use serde_json::{Value, json};
use sha2::Sha256;
use uuid::Uuid;

use super::{
    front::Front,
    http::{Answer, Call},
};

pub(crate) const SECRET: &str = "whsec_test_secret_of_the_webhook";

/// Seconds since 1970, this much later than now.
pub(crate) fn unix_time(later: i64) -> i64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    i64::try_from(now.as_secs()).unwrap() + later
}

/// The header of a body.
pub(crate) fn signature(secret: &str, time: i64, body: &str) -> String {
    let mut mac = Hmac::<Sha256>::new_from_slice(secret.as_bytes()).unwrap();
    mac.update(format!("{time}.{body}").as_bytes());
    let tag = mac.finalize().into_bytes();
    let mut header = format!("t={time},v1=");
    for byte in tag {
        write!(header, "{byte:02x}").unwrap();
    }
    header
}

/// An event of this type about the payment of an order.
pub(crate) fn event(kind: &str, order: Uuid, payment: &Value) -> String {
    let intent = json!({
        "id": payment, "object": "payment_intent", "metadata": { "order_id": order },
    });
    json!({ "id": "evt_1", "object": "event", "type": kind, "data": { "object": intent } })
        .to_string()
}

/// A call of the webhook.
pub(crate) fn call(front: &Front, header: &str, body: &str) -> Call {
    let call = front.post("/webhooks/stripe").body(body.to_owned());
    call.header("Stripe-Signature", header)
}

/// Sends an event with a right signature.
pub(crate) async fn send(front: &Front, body: &str) -> Answer {
    let header = signature(SECRET, unix_time(0), body);
    call(front, &header, body).send().await
}
