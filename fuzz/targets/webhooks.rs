//! Stripe's webhooks: only an event that is signed with the secret, and of now, names a payment.

#![no_main]

use chrono::{DateTime, Utc};
use flash_sale::{domain::Secret, payment::stripe::webhook::read};
use hmac::{Hmac, KeyInit, Mac};
use libfuzzer_sys::fuzz_target;
use sha2::Sha256;

const SECRET: &str = "whsec_0123456789abcdef";
const NOW: i64 = 1_800_000_000;

fuzz_target!(|data: &[u8]| {
    let secret = Secret::new(SECRET);
    let now = DateTime::<Utc>::from_timestamp(NOW, 0).expect("a time");
    let split = data.iter().position(|byte| *byte == b'\n');
    let (header, body) = data.split_at(split.unwrap_or(0));
    let header = std::str::from_utf8(header).ok();

    // Nobody without the secret gets an event read: no input guesses an HMAC.
    assert!(read(&secret, header, body, now).is_err());

    let mut mac = Hmac::<Sha256>::new_from_slice(SECRET.as_bytes()).expect("a key");
    mac.update(format!("{NOW}.").as_bytes());
    mac.update(body);
    let signature: String = mac
        .finalize()
        .into_bytes()
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect();
    // A signed body is read or refused, whatever it is; its notice is about the intent it names.
    if let Ok(Some(notice)) = read(&secret, Some(&format!("t={NOW},v1={signature}")), body, now) {
        let event: serde_json::Value = serde_json::from_slice(body).expect("an event is JSON");
        assert_eq!(event["data"]["object"]["id"], notice.intent);
    }
    // The same signature with another time is refused.
    let late = format!("t={},v1={signature}", NOW + 1);
    assert!(read(&secret, Some(&late), body, now).is_err());
});
