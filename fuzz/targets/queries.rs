//! Query strings of the lists: each is accepted or refused with a 4xx.

#![no_main]

use flash_sale::api::fuzzing::query;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    if let Some(status) = query(data) {
        assert!((400..500).contains(&status), "{status}");
    }
});
