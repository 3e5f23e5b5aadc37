//! Idempotency keys: only visible ASCII of the allowed length is accepted.

#![no_main]

use flash_sale::api::fuzzing::idempotency_key;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    if let Some(key) = idempotency_key(data) {
        assert!((1..=255).contains(&key.len()));
        assert!(key.bytes().all(|byte| byte.is_ascii_graphic()));
        assert_eq!(key.as_bytes(), data, "the key is taken as it was sent");
    }
});
