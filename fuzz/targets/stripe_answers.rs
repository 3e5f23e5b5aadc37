//! Stripe's answers: an answer counts as paid only if it is about this order and this money.

#![no_main]

use flash_sale::payment::stripe::fuzzing::{AMOUNT, CURRENCY, ORDER, Outcome, charged, refunded};
use libfuzzer_sys::fuzz_target;
use serde_json::Value;

const STATUSES: [u16; 8] = [200, 400, 401, 402, 404, 409, 429, 500];

fuzz_target!(|data: &[u8]| {
    let Some((first, body)) = data.split_first() else {
        return;
    };
    let status = STATUSES[usize::from(*first) % STATUSES.len()];
    if charged(status, body) == Outcome::Paid {
        let answer: Value = serde_json::from_slice(body).expect("a paid answer is JSON");
        // A refusal of an intent that has succeeded already holds the intent.
        let intent = match status {
            200 => &answer,
            _ => &answer["error"]["payment_intent"],
        };
        assert_eq!(intent["status"], "succeeded");
        assert_eq!(intent["amount"], AMOUNT);
        assert_eq!(intent["metadata"]["order_id"], ORDER.to_string());
        let currency = intent["currency"].as_str().unwrap_or_default();
        assert!(currency.eq_ignore_ascii_case(CURRENCY));
    }
    refunded(status, body);
});
