//! Bodies of orders, products and confirmations: each is accepted or refused with a 4xx.

#![no_main]

use flash_sale::api::fuzzing::{BODIES, body};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    for kind in BODIES {
        if let Some(status) = body(kind, data) {
            assert!((400..500).contains(&status), "{kind:?}: {status}");
        }
    }
});
