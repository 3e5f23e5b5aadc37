//! Key sets of identity providers: no bytes panic, and no key of a set takes HMAC, whose secret would be public.

#![no_main]

use flash_sale::api::fuzzing::key_set_has_secrets;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    assert_ne!(key_set_has_secrets(data), Some(true), "a public secret");
});
